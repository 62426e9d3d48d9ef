import type { AcquireResult, LeaseRecord, LeaseTable, RenewResult } from '../database/lease-table.js';
import { longestElapsed } from '../common/clock.js';
import type { Clock, Instant } from '../common/clock.js';
import type { TermRenewer } from '../lease/renewal/term-renewer.js';

/**
 * Records how the database last answered the election. A leader calls it all the time, an idle follower does not: then a
 * readiness probe needs one read per `freshMs`, at any rate of probes.
 */
export class DatabaseWatch {
  #answeredAt: Instant | undefined;
  /** When the first call after the last answer began. */
  #askedAt: Instant | undefined;
  /** A call after the last answer has failed. */
  #failed = false;
  #token = 0n;
  #replaced: () => void = () => undefined;

  /**
   * @param freshMs how long an answer counts as fresh, in milliseconds.
   * @param lease the row name of the election's lease.
   */
  constructor(
    private readonly clock: Clock,
    private readonly freshMs: number,
    private readonly lease: string,
  ) {}

  /**
   * Sets the listener that is called when the token of the election is lower than before. Tokens only rise, so the
   * database is another one or an earlier copy.
   */
  onReplaced(listener: () => void): void {
    this.#replaced = listener;
  }

  /** Returns a table that forwards all calls to `table` and records the answers. */
  watch(table: LeaseTable): LeaseTable {
    const noted = async <Result>(call: Promise<Result>): Promise<Result> => {
      this.#askedAt ??= this.clock.now();
      try {
        const result = await call;
        this.#answered();
        return result;
      } catch (error) {
        this.#failed = true;
        throw error;
      }
    };
    return {
      observes: table.observes,
      ...(table.observeRenewal && { observeRenewal: table.observeRenewal.bind(table) }),
      read: async (name) => this.#seen(name, await noted(table.read(name))),
      acquire: async (claim) => this.#seen(claim.name, await noted(table.acquire(claim))),
      renew: async (lease) => this.#seen(lease.name, await noted(table.renew(lease))),
      renewAll: (leases) => noted(table.renewAll(leases)),
      release: (lease) => noted(table.release(lease)),
      // Not recorded: it may use another connection than the election.
      ...(table.list && { list: table.list.bind(table) }),
      heard: (name, token, leaseMs) => table.heard?.(name, token, leaseMs),
    };
  }

  /** Returns a renewer that forwards to `renewer` and records the answers that its thread got. */
  watchRenewer(renewer: TermRenewer): TermRenewer {
    return {
      hold: (lease) => {
        const changed = (): void => {
          this.#answered();
          lease.changed();
        };
        renewer.hold({ ...lease, changed });
      },
      renewed: (name, token) => renewer.renewed(name, token),
      drop: (name, token) => renewer.drop(name, token),
      heard: (name, token, leaseMs) => renewer.heard(name, token, leaseMs),
    };
  }

  /** The last answer is fresh, or it is old only because nothing was asked since then. */
  get reachable(): boolean {
    if (this.#answeredAt === undefined) return false;
    return this.#isFresh(this.#answeredAt) || (!this.#failed && this.#isFresh(this.#askedAt ?? this.clock.now()));
  }

  /** Nothing was asked since an answer that is not fresh: a read of the lease shows whether the database answers. */
  get isStale(): boolean {
    return this.#answeredAt !== undefined && this.#askedAt === undefined && !this.#isFresh(this.#answeredAt);
  }

  #answered(): void {
    this.#answeredAt = this.clock.now();
    this.#askedAt = undefined;
    this.#failed = false;
  }

  #isFresh(at: Instant): boolean {
    return longestElapsed(at, this.clock.now()) < this.freshMs;
  }

  #seen<Result extends LeaseRecord | AcquireResult | RenewResult>(name: string, result: Result): Result {
    if (name !== this.lease) return result;
    const token = tokenOf(result);
    if (token === undefined) return result;
    const lower = token < this.#token;
    this.#token = token;
    if (lower) this.#replaced();
    return result;
  }
}

function tokenOf(result: LeaseRecord | AcquireResult | RenewResult): bigint | undefined {
  if ('token' in result) return result.token;
  return 'record' in result ? result.record.token : undefined;
}
