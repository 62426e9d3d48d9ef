import type { ServerResponse } from 'node:http';

/** A response of Express, or a reply of Fastify. */
export interface HttpResponse extends ServerResponse {
  readonly raw?: ServerResponse;
  hijack?(): unknown;
}

/** A browser opens the next stream after this time. */
const RETRY_MS = 1_000;
/** A stream ends after this time, so that the guards are asked again when the browser opens the next one. */
const MOST_MS = 5 * 60_000;

export interface StreamLimits {
  /** The streams that are open at once. */
  readonly streams: number;
  /** The time in which a client must read what was sent. Then its connection is cut. */
  readonly unreadMs: number;
}

const LIMITS: StreamLimits = { streams: 100, unreadMs: 10_000 };

/**
 * Streams of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). They are written to the
 * response of Node itself, so that interceptors of the app do not change them.
 */
export class EventStreams {
  readonly #open = new Set<ServerResponse>();
  #closed = false;

  constructor(private readonly limits = LIMITS) {}

  get isFull(): boolean {
    return this.#open.size >= this.limits.streams;
  }

  /**
   * Begins a stream. After `close` it ends at once.
   * @param begin gets a function that sends one line of text as an event, and returns one that is called at the end of the
   *   stream. An event is left out while the client has not read the last one, so at most one waits for each client.
   */
  open(response: HttpResponse, begin: (send: (data: string) => void) => () => void): void {
    response.hijack?.();
    const raw = response.raw ?? response;
    // The client has gone while the guards ran.
    if (raw.destroyed) return;
    raw.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      // no-transform: a compression would hold events back.
      'Cache-Control': 'no-store, no-transform',
      'X-Accel-Buffering': 'no',
      'X-Content-Type-Options': 'nosniff',
    });
    raw.write(`retry: ${RETRY_MS}\n\n`);
    if (this.#closed) {
      raw.end();
      return;
    }
    this.#open.add(raw);
    const end = begin((data) => {
      if (!raw.writableEnded && !raw.writableNeedDrain && !raw.write(`data: ${data}\n\n`)) this.#cutUnlessRead(raw);
    });
    const limit = setTimeout(() => this.#end(raw), MOST_MS);
    raw.on('close', () => {
      clearTimeout(limit);
      this.#open.delete(raw);
      end();
    });
  }

  /** Ends all streams. The HTTP server of the app closes only without open requests. */
  close(): void {
    this.#closed = true;
    for (const raw of this.#open) this.#end(raw);
  }

  #end(raw: ServerResponse): void {
    raw.end();
    this.#cutUnlessRead(raw);
  }

  #cutUnlessRead(raw: ServerResponse): void {
    const timer = setTimeout(() => raw.destroy(), this.limits.unreadMs);
    const keep = (): void => {
      clearTimeout(timer);
      raw.off('drain', keep).off('close', keep);
    };
    raw.on('drain', keep).on('close', keep);
  }
}
