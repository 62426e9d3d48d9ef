import type { AcquireResult, LeaseRecord, RenewResult } from '../../libs/hedge/src/database/lease-table.js';
import type { LeaseObserver } from '../../libs/hedge/src/database/lease-observer.js';
import type { LeaseMarker } from '../../libs/hedge/src/database/observed-lease.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { isLaterMarker, type LeaseClaim, type LeaseRow, type SimulatedDatabase } from './database.js';
import { violated } from './violation.js';

/** A call of the driver: its transaction, and the judgement of its answer. */
export interface DriverCall<Answer, Result> {
  readonly effect: () => Answer;
  readonly result: (answer: Answer) => Result;
}

/** A row after a transaction, and how the database judges it. */
interface Answered {
  readonly done: boolean;
  readonly row: LeaseRow;
  readonly expiresInMs: number;
  readonly ageMs: number | undefined;
}

const UNKNOWN: LeaseMarker = { token: 0n, renewals: 0n };
/** No clock gives a higher token. */
const HIGHEST_TOKEN = 2n ** 62n;

/** The driver of one process: the real observer of its leases, on the simulated tables. */
export class SimulatedDriver {
  #generation: number;
  /** The highest marker of each lease that this process has read, or that a peer has named: for the invariants. */
  readonly #knows = new Map<string, LeaseMarker>();

  /**
   * @param permitMs of the group's semaphores. A process that starts while a lease or permits of a replaced file may be
   *   valid knows nothing of that. It could lead beside the old leader, or grant too much, which is beyond what is
   *   promised: here it waits as those do that knew it.
   */
  constructor(
    private readonly database: SimulatedDatabase,
    private readonly observer: LeaseObserver,
    protected readonly now: () => Instant,
    private readonly leaseMs: number,
    private readonly permitMs: number,
    private readonly address: string,
  ) {
    this.#generation = database.generation;
    if (!database.replacedWithin(leaseMs + Math.max(permitMs, 2 * leaseMs))) return;
    observer.record('of the replaced file', { token: 1n, renewals: 0n, leaseMs }, 0n, now());
    observer.replaced(now());
  }

  get observes(): boolean {
    return this.database.observes;
  }

  /** The effect of a call that starts now: none if the file is replaced before it takes effect. */
  call<Result>(effect: () => Result): () => Result | 'replaced' {
    const generation = this.#generation;
    return () => (generation === this.database.generation ? effect() : 'replaced');
  }

  /** A call found another file. */
  replaced(): void {
    this.#generation = this.database.generation;
    this.observer.replaced(this.now());
  }

  /** As `PermitTable.unseenForMs`. */
  get permitsUnseenForMs(): number {
    return this.observer.permitsUnseenForMs(this.permitMs, this.now());
  }

  read(name: string): DriverCall<Answered, LeaseRecord> {
    const known = this.observer.known(name);
    return {
      effect: () => this.#answer(name, true),
      result: (answer) => this.#record(name, answer, known),
    };
  }

  acquire(name: string, claim: LeaseClaim): DriverCall<Answered, AcquireResult> {
    const known = this.observer.known(name);
    const knew = this.knows(name);
    const conditions = this.#mayAcquire(name);
    return {
      effect: () =>
        this.#answer(
          name,
          conditions !== undefined && this.database.takeLease(name, this.#stamped(claim), conditions, knew),
        ),
      result: (answer) => {
        const { done, row } = answer;
        this.#learn(name, row);
        if (done && (!this.observes || this.observer.acquired(name, row.token, claim.leaseMs, this.now()))) {
          return { acquired: true, token: row.token };
        }
        return { acquired: false, record: this.#record(name, answer, known) };
      },
    };
  }

  renew(name: string, claim: LeaseClaim, token: bigint, renewals: bigint): DriverCall<Answered, RenewResult> {
    const known = this.observer.known(name);
    const knew = this.knows(name);
    return {
      effect: () => this.#answer(name, this.database.renewLease(name, this.#stamped(claim), token, renewals)),
      result: (answer) => {
        this.#learn(name, answer.row);
        const result = this.#renewed(name, claim.holder, token, answer, known);
        if (result.renewed && knew.token > token) {
          violated('L1', `${claim.holder.incarnation} renews ${name} ${token}, and knew of ${knew.token}`);
        }
        return result;
      },
    };
  }

  release(name: string, holder: MemberId, token: bigint): DriverCall<boolean, boolean> {
    this.observer.releasing(name);
    return {
      effect: () => this.database.releaseLease(name, holder, token),
      result: (released) => {
        if (released) this.observer.released({ name, holder, token });
        return released;
      },
    };
  }

  /**
   * As `LeaseTable.observeRenewal`.
   * @param _sentAt by the clocks of the holder, which nobody may compare with its own.
   */
  observeRenewal(name: string, marker: LeaseMarker, _sentAt: Instant, receivedAt = this.now()): void {
    this.#learn(name, marker);
    if (this.observes) this.observer.observeRenewal(name, marker, receivedAt);
  }

  /** As `LeaseTable.heard`. */
  heard(name: string, token: bigint): void {
    if (!this.observes) return;
    if (token <= HIGHEST_TOKEN) this.#learn(name, { token, renewals: 0n });
    this.observer.heard(name, token, this.leaseMs);
  }

  knows(name: string): LeaseMarker {
    return this.#knows.get(name) ?? UNKNOWN;
  }

  /** With a shared clock, the conditions do not count. */
  #mayAcquire(name: string) {
    if (this.observes) return this.observer.mayAcquire(name, this.leaseMs, this.now());
    return { expired: undefined, mayInsert: true, known: 0n, above: 0n };
  }

  #answer(name: string, done: boolean): Answered {
    const row = this.database.row(name);
    return { done, row, expiresInMs: this.database.expiresInMs(row), ageMs: this.#ageOf(row) };
  }

  #stamped(claim: LeaseClaim): LeaseClaim {
    return { ...claim, writtenAt: this.now().mono };
  }

  /** As `RowClock.age`: SQLite has the clock of the machine. */
  #ageOf({ claim }: LeaseRow): number | undefined {
    if (this.database.kind !== 'file' || claim?.writtenAt === undefined) return undefined;
    if (!this.sharesClock(claim.holder)) return undefined;
    const ageMs = this.now().mono - claim.writtenAt;
    return ageMs >= 0 ? ageMs : undefined;
  }

  protected sharesClock(holder: MemberId): boolean {
    return holder.address === this.address;
  }

  #record(name: string, { row, expiresInMs, ageMs }: Answered, known: bigint): LeaseRecord {
    this.#learn(name, row);
    if (this.observes) return this.observer.record(name, { ...row, ...row.claim, ageMs }, known, this.now());
    return { token: row.token, expiresInMs, ...(row.claim && { holder: row.claim.holder }) };
  }

  #renewed(name: string, holder: MemberId, token: bigint, answer: Answered, known: bigint): RenewResult {
    const { done, row, ageMs } = answer;
    if (this.observes) {
      const lease = { name, holder, token };
      return this.observer.renewed(lease, done, { ...row, ...row.claim, ageMs }, known, this.now());
    }
    return done ? { renewed: true } : { renewed: false, record: this.#record(name, answer, known) };
  }

  #learn(name: string, marker: LeaseMarker): void {
    if (isLaterMarker(marker, this.knows(name))) this.#knows.set(name, marker);
  }
}
