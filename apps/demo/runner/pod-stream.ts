import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';

/** A request that receives lines, also while it sends its body in parts, which `fetch` cannot do. */
export class PodStream {
  private readonly request: ClientRequest;
  private readonly response: Promise<IncomingMessage>;

  constructor(url: string, method: 'GET' | 'PUT' | 'POST') {
    this.request = request(url, { method });
    this.response = once(this.request, 'response').then(([response]) => response as IncomingMessage);
    this.response.catch(() => undefined); // reported to the reader of the lines
    this.request.on('error', () => undefined);
    this.request.flushHeaders();
  }

  write(text: string): void {
    this.request.write(text);
  }

  end(text = ''): void {
    this.request.end(text);
  }

  /** Breaks the connection. */
  close(): void {
    this.request.destroy();
  }

  /** @throws Error with the response unless it is a success, or when the connection breaks before its end. */
  async *lines(): AsyncGenerator<string, void> {
    const response = await this.response;
    // The iterator ends normally when the connection breaks, so `complete` is checked after it.
    for await (const line of createInterface({ input: response })) {
      if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${line}`);
      yield line;
    }
    if (!response.complete) throw new Error('The connection broke before the end of the response');
  }
}
