/** The keys of a watch: those with a prefix, or the one key that equals it. */
export interface WatchScope {
  readonly prefix: string;
  readonly exact: boolean;
}

export type NoticesInput =
  /** The leader has committed rows of these keys, or may have. */
  | { readonly type: 'committed'; readonly keys: readonly string[] }
  /**
   * A pod asks for the next commit in one of its scopes after commit number `seen`. `ticket` is the name of this call in the
   * runner. `seen` is undefined for a pod that has not asked this process before.
   */
  | {
      readonly type: 'ask';
      readonly ticket: number;
      readonly seen: number | undefined;
      readonly scopes: readonly WatchScope[];
    }
  /** The pod waits no longer, or long enough. */
  | { readonly type: 'end'; readonly ticket: number };

/** Answer one call; exactly once for each ticket. */
export interface Notice {
  readonly ticket: number;
  /** The number of the last commit. The answer is about all commits up to it. */
  readonly seen: number;
  /** The places, in the list of the call, of the scopes in which rows were committed; `all` when they are not known. */
  readonly touched: readonly number[] | 'all';
}

export interface NoticesLimits {
  /** Commits that are remembered for pods that ask later. */
  readonly maxCommits: number;
  /** Characters of the keys of these commits. */
  readonly maxCharacters: number;
}

export const DEFAULT_NOTICES_LIMITS: NoticesLimits = { maxCommits: 1_024, maxCharacters: 256 * 1_024 };

interface Commit {
  readonly number: number;
  readonly keys: readonly string[];
  readonly characters: number;
}

/**
 * Tells the pods that watch keys when the leader has committed rows of them. Pure: `step` accepts an input, and returns the
 * calls to answer.
 *
 * A notice only makes a pod read the log. So a lost or late one costs time, and one too many costs a read. A pod asks again
 * after each answer; commits in between are remembered, within limits.
 */
export class WatchNotices {
  readonly #asking = new Map<number, readonly WatchScope[]>();
  #commits: Commit[] = [];
  #characters = 0;
  #last = 0;

  constructor(private readonly limits: NoticesLimits = DEFAULT_NOTICES_LIMITS) {}

  step(input: NoticesInput): readonly Notice[] {
    if (input.type === 'committed') return this.#committed(input.keys);
    if (input.type === 'ask') return this.#ask(input.ticket, input.seen, input.scopes);
    return this.#asking.delete(input.ticket) ? [{ ticket: input.ticket, seen: this.#last, touched: [] }] : [];
  }

  #committed(keys: readonly string[]): Notice[] {
    this.#last += 1;
    this.#remember(keys);
    const notices: Notice[] = [];
    for (const [ticket, scopes] of this.#asking) {
      const touched = touchedBy(keys, scopes);
      if (touched.length > 0) notices.push({ ticket, seen: this.#last, touched });
    }
    for (const { ticket } of notices) this.#asking.delete(ticket);
    return notices;
  }

  #remember(keys: readonly string[]): void {
    const characters = keys.reduce((sum, key) => sum + key.length, 0);
    this.#commits.push({ number: this.#last, keys, characters });
    this.#characters += characters;
    let forgotten = 0;
    const { maxCommits, maxCharacters } = this.limits;
    while (this.#commits.length - forgotten > maxCommits || this.#characters > maxCharacters) {
      this.#characters -= this.#commits[forgotten]?.characters ?? 0;
      forgotten += 1;
    }
    if (forgotten > 0) this.#commits = this.#commits.slice(forgotten);
  }

  #ask(ticket: number, seen: number | undefined, scopes: readonly WatchScope[]): Notice[] {
    const oldest = this.#last - this.#commits.length;
    if (seen === undefined || seen < oldest || seen > this.#last) {
      return [{ ticket, seen: this.#last, touched: 'all' }];
    }
    const keys = this.#commits.slice(seen - oldest).flatMap((commit) => commit.keys);
    const touched = touchedBy(keys, scopes);
    if (touched.length > 0) return [{ ticket, seen: this.#last, touched }];
    this.#asking.set(ticket, scopes);
    return [];
  }
}

function touchedBy(keys: readonly string[], scopes: readonly WatchScope[]): number[] {
  return scopes.flatMap(({ prefix, exact }, place) =>
    keys.some((key) => (exact ? key === prefix : key.startsWith(prefix))) ? [place] : [],
  );
}
