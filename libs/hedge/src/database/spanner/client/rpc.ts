import type { ClientSource, SpannerRequest } from './client.js';
import type { Calls, PartialResultSet, StatementRequest } from './protocol.js';

/** A call that was made after `close`. */
export class Closed extends Error {
  override readonly name = 'Closed';
}

/** A call whose deadline has passed before it was sent. */
export class TooLate extends Error {
  override readonly name = 'TooLate';
}

/** Disables the client's own retries: of unary calls by the first option, of streams by the second. */
const NO_RETRIES = { retry: { retryCodes: [] }, retryRequestOptions: { retries: 0, noResponseRetries: 0 } };

/** Single calls to google.spanner.v1: each is sent once, and has a deadline. */
export class SpannerRpc {
  #closed = false;

  constructor(private readonly source: ClientSource) {}

  /** The full name of the database. */
  get database(): string {
    return this.source.name;
  }

  /** Loads the package and creates the client, without network. @throws Closed; HedgeError INVALID_OPTIONS */
  load(): void {
    this.#assertOpen();
    this.source.load();
  }

  /** @throws the client's error, with a gRPC status in `code`; Closed or TooLate when the call was not sent */
  async call<K extends keyof Calls>(method: K, request: Calls[K][0], timeoutMs: number): Promise<Calls[K][1]> {
    this.#assertOpen();
    if (timeoutMs <= 0) throw new TooLate('its time is over');
    const client = await this.source.connect();
    return new Promise((resolve, reject) => {
      client.request(this.#request(method, request, timeoutMs), (error, response) => {
        if (error) reject(error);
        else resolve(response as Calls[K][1]);
      });
    });
  }

  /** All messages of a query whose result may be too large for one. */
  async stream(request: StatementRequest, timeoutMs: number): Promise<PartialResultSet[]> {
    this.#assertOpen();
    if (timeoutMs <= 0) throw new TooLate('its time is over');
    const client = await this.source.connect();
    const stream = client.requestStream(this.#request('executeStreamingSql', request, timeoutMs));
    const messages: PartialResultSet[] = [];
    return new Promise((resolve, reject) => {
      stream.on('data', (message: PartialResultSet) => messages.push(message));
      stream.on('error', reject);
      stream.on('end', () => resolve(messages));
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.source.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new Closed('it is closed');
  }

  #request(method: string, reqOpts: Calls[keyof Calls][0], timeoutMs: number): SpannerRequest {
    // In a multi-region instance a strong call goes directly to the leader region, a stale read to a near replica.
    const toLeader = !maybeStale(reqOpts) && { 'x-goog-spanner-route-to-leader': 'true' };
    return {
      client: 'SpannerClient',
      method,
      reqOpts,
      gaxOpts: { timeout: Math.ceil(timeoutMs), ...NO_RETRIES },
      headers: { 'google-cloud-resource-prefix': this.database, ...toLeader },
    };
  }
}

function maybeStale(request: Calls[keyof Calls][0]): boolean {
  if (!('transaction' in request) || !('singleUse' in request.transaction)) return false;
  return 'maxStaleness' in request.transaction.singleUse.readOnly;
}
