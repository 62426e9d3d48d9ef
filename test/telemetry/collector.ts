import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { SentSpan } from './pod.js';

/** Receives the spans of all pods. */
export class Collector {
  readonly spans: SentSpan[] = [];
  readonly #server: Server = createServer((request, response) => {
    request.toArray().then(
      (chunks) => {
        this.spans.push(...(JSON.parse(Buffer.concat(chunks as Buffer[]).toString()) as SentSpan[]));
        response.end();
      },
      () => response.destroy(),
    );
  });

  /** @returns the URL for the pods */
  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
