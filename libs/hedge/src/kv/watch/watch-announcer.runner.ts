import { onAbort } from '../../common/async/on-abort.js';
import type { Clock } from '../../common/clock.js';
import { bytesPayload, type Encoded, type IncomingRequest } from '../../messaging/message.js';
import type { RequestType } from '../../messaging/request-type.js';
import { KvNotice, KvWatch, RequestKind } from '../../wire/hedge/v1/link.js';
import { WatchNotices, type Notice, type NoticesInput } from './watch-notices.core.js';

/**
 * Asks the leader for commits. It is no work of the leader: it waits for the next commit, so a drain must not wait for it,
 * and a pod that does not lead any more answers it late.
 */
export const KV_WATCH: RequestType = {
  kind: RequestKind.REQUEST_KIND_KV_WATCH,
  name: 'watch',
  runsAt: 'member',
  duringDrain: 'accepted',
  slots: 'watches',
  mayUseReserve: false,
};

/** Runs `WatchNotices` on the leader. */
export class WatchAnnouncer {
  readonly #waiting = new Map<number, (notice: Notice) => void>();
  #tickets = 0;

  /** @param session a name of this process. */
  constructor(
    private readonly session: string,
    private readonly clock: Clock,
    private readonly core = new WatchNotices(),
  ) {}

  /** Rows of these keys were committed, or may have been. */
  committed(keys: readonly string[]): void {
    this.#step({ type: 'committed', keys });
  }

  /** @param done called once with the reply to a `KvWatch`. */
  handle({ payload, signal }: IncomingRequest, done: (reply: Encoded) => void): void {
    const { session, seen, scopes, holdMs } = KvWatch.decode(payload.bytes);
    const ticket = (this.#tickets += 1);
    const end = (): void => this.#step({ type: 'end', ticket });
    const stopTimer = this.clock.after(holdMs, end);
    const stopListening = onAbort(signal, end);
    this.#waiting.set(ticket, ({ seen, touched }) => {
      stopTimer();
      stopListening();
      const all = touched === 'all';
      const notice = { session: this.session, seen, touched: all ? [] : [...touched], all };
      done(bytesPayload(KvNotice.encode(notice).finish()));
    });
    this.#step({ type: 'ask', ticket, seen: session === this.session ? seen : undefined, scopes });
  }

  #step(input: NoticesInput): void {
    for (const notice of this.core.step(input)) {
      const answer = this.#waiting.get(notice.ticket);
      this.#waiting.delete(notice.ticket);
      answer?.(notice);
    }
  }
}
