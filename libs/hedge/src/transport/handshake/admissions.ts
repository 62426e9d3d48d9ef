/**
 * Which link of each caller counts: the one of the highest generation. Pure.
 *
 * It makes duplicate suppression safe. A caller lists its outstanding requests when it opens a link, and the
 * receiver forgets all others. Were an older link admitted after a newer one, or still read from, a request
 * that was already answered and forgotten could come in again, or a running one be forgotten.
 */
export class Admissions {
  private readonly newest = new Map<string, { generation: number; closedAt?: number }>();

  /**
   * @param keepMs how long a caller is remembered after its link has closed. Must not be shorter than a
   *   handshake may take: one that began before the newer link did has failed by then.
   */
  constructor(private readonly keepMs: number) {}

  /** Whether this is the caller's newest link; from now on it is. `now` in milliseconds, never going back. */
  admit(incarnation: string, generation: number, now: number): boolean {
    for (const [caller, { closedAt }] of this.newest) {
      if (closedAt !== undefined && now - closedAt > this.keepMs) this.newest.delete(caller);
    }
    const known = this.newest.get(incarnation);
    if (known && known.generation >= generation) return false;
    this.newest.set(incarnation, { generation });
    return true;
  }

  /** The admitted link has closed. */
  closed(incarnation: string, generation: number, now: number): void {
    const known = this.newest.get(incarnation);
    if (known?.generation === generation) known.closedAt = now;
  }
}
