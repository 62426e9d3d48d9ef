import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';

/** A request whose body is sent in pieces while its answer comes in lines, which `fetch` cannot do. */
export class PodStream {
  private readonly request: ClientRequest;
  private readonly response: Promise<IncomingMessage>;

  constructor(url: string, method: 'PUT' | 'POST') {
    this.request = request(url, { method });
    this.response = once(this.request, 'response').then(([response]) => response as IncomingMessage);
    this.response.catch(() => undefined); // told to whoever reads the lines
    this.request.on('error', () => undefined);
    this.request.flushHeaders();
  }

  write(text: string): void {
    this.request.write(text);
  }

  end(text = ''): void {
    this.request.end(text);
  }

  /** @throws Error with the answer unless it is a success, or when the connection breaks in the middle. */
  async *lines(): AsyncGenerator<string, void> {
    const response = await this.response;
    // Its iterator alone ends as if the answer was whole when the connection breaks.
    for await (const line of createInterface({ input: response })) {
      if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${line}`);
      yield line;
    }
    if (!response.complete) throw new Error('the connection broke in the middle of the answer');
  }
}
