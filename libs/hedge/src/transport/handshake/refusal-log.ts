import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/line-logger.js';

const QUIET_MS = 10_000;
const MAX_PEERS = 256;
const OTHERS = 'other peers';

/**
 * Logs refused handshakes and violations of the protocol: at most one line for each peer in ten seconds, so that a
 * stranger who connects again and again cannot fill the log.
 */
export class RefusalLog {
  readonly #peers = new Map<string, { since: number; suppressed: number }>();

  constructor(
    private readonly logger: Pick<Logger, 'warn' | 'error'>,
    private readonly clock: Clock,
    /** Called for each refusal, also for those that are not logged. */
    private readonly refused: () => void = () => undefined,
  ) {}

  warn(peer: string, message: string): void {
    this.refused();
    this.#write(peer, message, (line) => this.logger.warn(line, { event: 'peer.refused', peer }));
  }

  error(peer: string, message: string, stack?: unknown): void {
    this.#write(`${peer} error`, message, (line) => this.logger.error(line, stack));
  }

  #write(peer: string, message: string, write: (line: string) => void): void {
    const now = this.clock.now().mono;
    const key = this.#keyOf(peer, now);
    const entry = this.#peers.get(key);
    if (entry && now - entry.since < QUIET_MS) {
      entry.suppressed += 1;
      return;
    }
    this.#peers.set(key, { since: now, suppressed: 0 });
    write(entry && entry.suppressed > 0 ? `${message} (and ${entry.suppressed} more before)` : message);
  }

  #keyOf(peer: string, now: number): string {
    if (this.#peers.has(peer) || this.#peers.size < MAX_PEERS) return peer;
    for (const [known, { since }] of this.#peers) if (now - since >= QUIET_MS) this.#peers.delete(known);
    return this.#peers.size < MAX_PEERS ? peer : OTHERS;
  }
}
