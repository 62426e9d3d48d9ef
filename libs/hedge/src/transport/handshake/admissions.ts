/**
 * Admits only the newest link of each caller: the link with the highest generation. Pure.
 *
 * This makes request deduplication safe. A caller lists its outstanding requests when it opens a link, and the receiver
 * forgets all others. If an older link were admitted after a newer one, or still read, the receiver could run a request
 * again that it has answered and forgotten, or forget a running one.
 */
export class Admissions {
  readonly #newest = new Map<string, { generation: number; closedAt?: number }>();

  /**
   * @param keepMs how long a caller is remembered after its link has closed. At least the time limit of a handshake: a
   *   handshake that began before the newer link has failed by then.
   */
  constructor(private readonly keepMs: number) {}

  /** Records a link. @param now in milliseconds, never going back. @returns whether it is the caller's newest link. */
  admit(incarnation: string, generation: number, now: number): boolean {
    for (const [caller, { closedAt }] of this.#newest) {
      if (closedAt !== undefined && now - closedAt > this.keepMs) this.#newest.delete(caller);
    }
    const known = this.#newest.get(incarnation);
    if (known && known.generation >= generation) return false;
    this.#newest.set(incarnation, { generation });
    return true;
  }

  /** Records that an admitted link has closed. */
  closed(incarnation: string, generation: number, now: number): void {
    const known = this.#newest.get(incarnation);
    if (known?.generation === generation) known.closedAt = now;
  }
}
