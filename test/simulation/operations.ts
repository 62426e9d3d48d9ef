import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import {
  isSamePosition,
  OVERWRITE_ID,
  type LogEntry,
  type LogPosition,
} from '../../libs/hedge/src/database/log-table.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { compareVersions } from './database.js';
import { violated } from './violation.js';
import type { World } from './world.js';

export type OperationKind = 'put' | 'put-if' | 'overwrite' | 'send' | 'broadcast';

/** An operation of a pod, and its outcome. */
export interface Operation {
  readonly id: number;
  readonly kind: OperationKind;
  readonly by: string;
  readonly key: string;
  /** Unique, so that its effect is distinct from any other. */
  readonly value: string;
  readonly rowId: string;
  readonly fence: bigint;
  /** Of a `put-if`: the newest row that its key must have. */
  readonly follows?: LogPosition | undefined;
  /** The allowed reruns after the loss of a leader. */
  readonly maxReruns: number;
  /** It crashes each process that runs it. */
  readonly poison: boolean;
  readonly startedAt: number;
  endedAt?: number;
  /** The caller was notified that it happened. */
  version?: Version;
  /** The caller was notified that it did not start. */
  refused?: boolean;
  /** How often the database had lost entries when the caller was notified that the condition does not hold. */
  conflictAfterLosses?: number;
}

interface Version {
  readonly timestamp: bigint;
  readonly id: string;
}

interface Read {
  readonly key: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly latest: LogEntry | undefined;
}

/**
 * All requests, runs, writes and reads, and the promises about them: requests run at most once in
 * a term, a broadcast at most once in total, sends no more often than their bound, and K1 to K4 for the log.
 */
export class Operations {
  readonly all: Operation[] = [];
  readonly #byValue = new Map<string, Operation>();
  /** Terms in which each request ran, by its id. */
  readonly #runs = new Map<string, bigint[]>();
  readonly #written = new Map<string, LogEntry>();
  readonly #reads: Read[] = [];
  /** The entries that the database has lost. */
  readonly #lost = new Set<string>();
  /** How often it has lost entries. */
  #losses = 0;
  /** The number of rows of each key, without overwrites. */
  readonly #appended = new Map<string, number>();

  /** @param isLost whether the database has lost the term with that token. */
  constructor(
    private readonly world: World,
    private readonly isLost: (token: bigint) => boolean,
  ) {}

  begin(operation: Omit<Operation, 'id' | 'value' | 'rowId' | 'startedAt'>): Operation {
    const id = this.all.length;
    const made: Operation = {
      ...operation,
      id,
      value: `v${id}`,
      rowId: `row${String(id).padStart(6, '0')}`,
      startedAt: this.world.now,
    };
    this.all.push(made);
    this.#byValue.set(made.value, made);
    return made;
  }

  /** A handler begins to work on a request. */
  ran(operation: Operation, epoch: bigint, by: MemberId): void {
    const runs = this.#runs.get(operation.value) ?? [];
    const what = `operation ${operation.id} (${operation.kind})`;
    if (runs.includes(epoch)) violated('once per term', `${what} ran again in term ${epoch}, at ${by.incarnation}`);
    if (operation.refused === true && !isPut(operation))
      violated('refused is not run', `${what} ran after its caller was told that it had not`);
    if (runs.length > operation.maxReruns)
      violated('bounded re-runs', `${what} ran ${runs.length + 1} times, with at most ${operation.maxReruns} re-runs`);
    if (runs.length > 0) this.world.count('requests: ran again in a later term');
    this.#runs.set(operation.value, [...runs, epoch]);
  }

  succeeded(operation: Operation, timestamp: bigint | undefined): void {
    this.#end(operation);
    this.world.count(`requests: ${operation.kind} succeeded`);
    if (!this.#runs.has(operation.value))
      violated('once per term', `operation ${operation.id} succeeded and never ran`);
    if (timestamp === undefined) return;
    const entry = this.#written.get(operation.value);
    if (entry?.timestamp !== timestamp && this.#lost.has(lossOf(operation.value, timestamp))) return;
    if (entry === undefined) violated('K1', `put ${operation.id} was acknowledged and is not in the database`);
    if (entry.timestamp !== timestamp) {
      violated('K2', `put ${operation.id} was told ${timestamp} and is stored with ${entry.timestamp}`);
    }
    operation.version = { timestamp, id: entry.id };
  }

  failed(operation: Operation, error: unknown): void {
    this.#end(operation);
    const code = error instanceof HedgeError ? error.code : String(error);
    this.world.count(`requests: ${code}`);
    if (!(error instanceof HedgeError)) return;
    operation.refused = error.retryable || error.details['started'] === false || NOT_STARTED.has(error.code);
    const happened = isPut(operation) ? this.#written.has(operation.value) : this.#runs.has(operation.value);
    if (operation.refused && happened) {
      violated(
        'refused is not run',
        `${operation.kind} ${operation.id} happened, and its caller was told that it had not: ${error.message}`,
      );
    }
    const surelyNotWritten = error.code === 'CONFLICT' || error.code === 'LEASE_LOST';
    if (surelyNotWritten && this.#written.has(operation.value)) {
      violated('K1', `put ${operation.id} failed for good with ${code}, and was written`);
    }
  }

  /** The caller of a `put-if` was notified that its condition does not hold, with the newest row. That is a read, too. */
  conflicted(operation: Operation, newest: LogPosition | undefined): void {
    this.#end(operation);
    this.world.count('requests: CONFLICT');
    const { id, key, follows, startedAt } = operation;
    if (isSamePosition(newest, follows)) violated('K4', `put ${id} was refused, and its condition holds`);
    if (this.#written.has(operation.value)) violated('K4', `put ${id} was written, and its caller got a conflict`);
    operation.conflictAfterLosses = this.#losses;
    const latest =
      newest && [...this.#written.values()].find((entry) => entry.key === key && isSamePosition(entry, newest));
    if (latest !== undefined || newest === undefined) {
      this.#reads.push({ key, startedAt, endedAt: this.world.now, latest });
    } else if (this.#losses === 0) {
      violated('K4', `put ${id} was refused for a row that is not in the database`);
    }
  }

  /**
   * The database has committed a row. An overwrite of a leader that was replaced since would undo a write that the next
   * one has acknowledged.
   */
  written(entry: LogEntry, lastToken: bigint): void {
    const operation = this.#byValue.get(entry.value);
    if (operation === undefined) violated('K1', `a value was written that nobody put: ${entry.value}`);
    if (this.#written.has(entry.value)) violated('K1', `put ${operation.id} happened twice`);
    if (operation.refused === true)
      violated('refused is not run', `put ${operation.id} was written after its caller was told that it had not been`);
    if ((entry.id === OVERWRITE_ID) !== (operation.kind === 'overwrite')) {
      violated('K3', `put ${operation.id} (${operation.kind}) was written with id ${entry.id}`);
    }
    if (operation.kind === 'put-if') this.#checkCondition(operation, entry);
    const term = this.#runs.get(entry.value)?.at(-1);
    // The leader of a lost term may write under the fence of the caller, who knows the term that the database has.
    if (operation.kind === 'overwrite' && term !== lastToken && !this.isLost(term ?? 0n)) {
      violated('K1', `overwrite ${operation.id} of term ${term} was written after ${lastToken} had begun`);
    }
    this.world.note('', () => `database: operation ${operation.id} written, ${entry.key} ${entry.timestamp}`);
    this.#written.set(entry.value, entry);
    if (entry.id !== OVERWRITE_ID) this.#appended.set(entry.key, (this.#appended.get(entry.key) ?? 0) + 1);
  }

  #checkCondition({ id, follows, conflictAfterLosses }: Operation, entry: LogEntry): void {
    // The row for which it was refused may be lost.
    if (conflictAfterLosses === this.#losses) violated('K4', `put ${id} was written after its caller got a conflict`);
    let before: LogEntry | undefined;
    for (const other of this.#written.values()) {
      const isNewer = before === undefined || compareVersions(other, before) > 0;
      if (other.key === entry.key && isNewer) before = other;
    }
    if (!isSamePosition(before, follows)) {
      violated('K4', `put ${id} follows ${follows?.timestamp}, and was written after ${before?.timestamp}`);
    }
    this.world.count('requests: a condition held');
  }

  /** The database has lost a row: the only way in which an acknowledged put may be gone (K1). It may be written again. */
  lost(entry: LogEntry): void {
    this.world.count(`database: lost a put${this.#acknowledged(entry) ? ' that was acknowledged' : ''}`);
    this.#losses += 1;
    this.#lost.add(lossOf(entry.value, entry.timestamp));
    this.#written.delete(entry.value);
    if (entry.id !== OVERWRITE_ID) this.#appended.set(entry.key, (this.#appended.get(entry.key) ?? 0) - 1);
  }

  /** A pod begins to read a key. @returns a callback for all its versions, oldest first. */
  beginRead(key: string): (versions: readonly LogEntry[]) => void {
    const startedAt = this.world.now;
    const before = this.#appended.get(key) ?? 0;
    const losses = this.#losses;
    return (versions) => {
      this.#reads.push({ key, startedAt, endedAt: this.world.now, latest: versions.at(-1) });
      if (versions.length < before && losses === this.#losses)
        violated('K3', `a read of ${key} has ${versions.length} of ${before} versions`);
    };
  }

  /** To call at the end: every call has ended, and the order of versions agrees with the order in time. */
  finish(alive: ReadonlySet<string>): void {
    for (const { id, kind, by, endedAt } of this.all) {
      if (endedAt === undefined && alive.has(by))
        violated('every call ends', `operation ${id} (${kind}) of ${by} never ended`);
    }
    const keys = new Set(this.all.map(({ key }) => key));
    for (const key of keys) this.#checkOrder(key);
  }

  /**
   * K2. Every effective put has its own version, so a register over one key is linearizable exactly if the
   * order of versions never contradicts the order in time: of two operations of which one ended before the
   * other began, the earlier one's version is not the later; equal only if the later one is a read.
   */
  #checkOrder(key: string): void {
    const points: { from: number; to: number; version: Version; read: boolean; what: string }[] = [];
    for (const { id, kind, value, startedAt, endedAt } of this.all) {
      const entry = this.#written.get(value);
      if (entry === undefined || entry.key !== key) continue;
      // Without an answer it may have happened at any later time.
      points.push({
        from: startedAt,
        to: this.#acknowledged(entry) ? (endedAt ?? Infinity) : Infinity,
        version: entry,
        read: false,
        what: `${kind} ${id}`,
      });
    }
    for (const { key: of, startedAt, endedAt, latest } of this.#reads) {
      if (latest !== undefined && this.#lost.has(lossOf(latest.value, latest.timestamp))) continue;
      const version = latest ?? { timestamp: 0n, id: '' };
      if (of === key)
        points.push({ from: startedAt, to: endedAt, version, read: true, what: `read at ${startedAt.toFixed(1)}` });
    }
    points.sort((a, b) => a.from - b.from);
    const ended = [...points].sort((a, b) => a.to - b.to);
    let next = 0;
    let newest: (typeof points)[number] | undefined;
    for (const point of points) {
      for (let one = ended[next]; one !== undefined && one.to < point.from; one = ended[++next]) {
        if (newest === undefined || compareVersions(one.version, newest.version) > 0) newest = one;
      }
      if (newest === undefined) continue;
      const order = compareVersions(point.version, newest.version);
      if (order < 0 || (order === 0 && !point.read)) {
        violated('K2', `${point.what} of ${key} has an older version than ${newest.what}, which had ended before`);
      }
    }
  }

  #acknowledged({ value, timestamp }: LogEntry): boolean {
    return this.#byValue.get(value)?.version?.timestamp === timestamp;
  }

  #end(operation: Operation): void {
    if (operation.endedAt !== undefined) violated('every call ends', `operation ${operation.id} ended twice`);
    operation.endedAt = this.world.now;
  }
}

/** The codes that guarantee, by the table of errors, that nothing was done. */
const NOT_STARTED: ReadonlySet<string> = new Set(['NO_LEADER', 'MEMBER_UNREACHABLE', 'OVERLOADED']);

function lossOf(value: string, timestamp: bigint): string {
  return `${value} ${timestamp}`;
}

export function isPut({ kind }: Operation): boolean {
  return kind === 'put' || kind === 'put-if' || kind === 'overwrite';
}
