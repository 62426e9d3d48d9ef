import { longestElapsed, type Clock, type Instant } from '../../../common/clock.js';
import type { SpannerRpc } from './rpc.js';

/** Spanner drops a multiplexed session after 28 days; its own clients create a new one every 7. */
const MAX_AGE_MS = 7 * 24 * 3_600_000;

/**
 * The one multiplexed session that all calls share. It allows any number of concurrent transactions, and needs no pool
 * and no keep-alive queries. It is created on first use, and again after a loss.
 * @see https://cloud.google.com/spanner/docs/sessions#multiplexed_sessions
 */
export class MultiplexedSession {
  #current: { readonly name: Promise<string>; readonly since: Instant } | undefined;

  constructor(
    private readonly rpc: SpannerRpc,
    private readonly clock: Clock,
  ) {}

  /** The name of the session. Concurrent callers share its creation. */
  get(timeoutMs: number): Promise<string> {
    const now = this.clock.now();
    if (this.#current === undefined || longestElapsed(this.#current.since, now) > MAX_AGE_MS) {
      this.#current = { name: this.#create(timeoutMs), since: now };
    }
    return this.#current.name;
  }

  /** Drops the session, unless another one was created since then. */
  async drop(lost: string): Promise<void> {
    const current = this.#current;
    const name = await current?.name.catch(() => undefined);
    if (name === lost && this.#current === current) this.#current = undefined;
  }

  async #create(timeoutMs: number): Promise<string> {
    try {
      const request = { database: this.rpc.database, session: { multiplexed: true } };
      const { name } = await this.rpc.call('createSession', request, timeoutMs);
      if (!name) throw new Error('Spanner made a session without a name');
      return name;
    } catch (error) {
      this.#current = undefined;
      throw error;
    }
  }
}
