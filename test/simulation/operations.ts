import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import {
  EXPIRED_SUFFIX,
  isSamePosition,
  isTombstone,
  OVERWRITE_ID,
  TOMBSTONE_SUFFIX,
  type LogCondition,
  type LogEntry,
  type LogPosition,
} from '../../libs/hedge/src/database/log-table.js';
import type { Lifetime } from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import type { PutItem } from '../../libs/hedge/src/kv/group-commit.messages.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { compareVersions } from './database.js';
import type { ExpiryOracle } from './expiry-oracle.js';
import { violated } from './violation.js';
import type { World } from './world.js';

export type OperationKind =
  'put' | 'put-if' | 'delete' | 'overwrite' | 'transaction' | 'expiring' | 'send' | 'broadcast';

/** Of a `put-if`, a `transaction`, or an `expiring` put. */
export interface PlannedItem {
  readonly call: 'put' | 'delete' | 'check';
  readonly key: string;
  readonly condition?: LogCondition | undefined;
}

/** A row that a put appends, or overwrites. */
type PutRow = Pick<LogEntry, 'key' | 'id' | 'value'>;

/** An operation of a pod, and its outcome. */
export interface Operation {
  readonly id: number;
  readonly kind: OperationKind;
  readonly by: string;
  /** Unique. */
  readonly name: string;
  /** What it writes. Each row has a value or an id of its own, so that its effect is distinct from any other. */
  readonly rows: readonly PutRow[];
  readonly fence: bigint;
  /** Of a `put-if` or a `transaction`. */
  readonly items?: readonly PutItem[];
  /** Of an `expiring` put. */
  readonly lifetime?: Lifetime;
  /** When the condition does not hold because of a deletion, the caller tries again with that one. */
  readonly ifAbsent: boolean;
  /** The allowed reruns after the loss of a leader. */
  readonly maxReruns: number;
  /** It crashes each process that runs it. */
  readonly poison: boolean;
  readonly startedAt: number;
  endedAt?: number;
  /** The caller was notified that it happened, with this timestamp. */
  acknowledgedAt?: bigint;
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
  /** Of a key without versions: the tombstone that retention has deleted last. It may have been written after the read. */
  readonly latest: LogEntry | undefined;
}

/**
 * All requests, runs, writes and reads, and the promises about them: requests run at most once in
 * a term, a broadcast at most once in total, sends no more often than their bound, and K1 to K5 for the log.
 */
export class Operations {
  readonly all: Operation[] = [];
  readonly #byRow = new Map<string, Operation>();
  /** Terms in which each request ran, by its name. */
  readonly #runs = new Map<string, bigint[]>();
  /** By `nameOfRow`. */
  readonly #written = new Map<string, LogEntry>();
  /** The operations of whose rows some are written, and others not. */
  readonly #partial = new Set<Operation>();
  readonly #reads: Read[] = [];
  /** The entries that the database has lost. */
  readonly #lost = new Set<string>();
  /** How often it has lost entries. */
  #losses = 0;
  /** The number of rows of each key, without overwrites. */
  readonly #appended = new Map<string, number>();
  /** The entries that retention has deleted, and their number for each key. */
  readonly #trimmed = new Set<LogEntry>();
  readonly #trims = new Map<string, number>();
  /** The last tombstone of each key that retention has deleted with all versions before it. */
  readonly #buried = new Map<string, LogEntry>();

  /** @param isLost whether the database has lost the term with that token. */
  constructor(
    private readonly world: World,
    private readonly expiry: Pick<ExpiryOracle, 'written' | 'expired'>,
    private readonly isLost: (token: bigint) => boolean,
  ) {}

  /** @param key of a `put`, a `delete` or an `overwrite`. @param plan of a `put-if` or a `transaction`. */
  begin(
    operation: Omit<Operation, 'id' | 'name' | 'rows' | 'items' | 'ifAbsent' | 'startedAt'> & {
      readonly ifAbsent?: boolean;
    },
    { key, plan }: { readonly key?: string; readonly plan?: readonly PlannedItem[] },
  ): Operation {
    const id = this.all.length;
    const name = `v${id}`;
    const rowId = `row${String(id).padStart(6, '0')}`;
    const items = plan?.map(({ call, key, condition }, place): PutItem => {
      const row = {
        id: `${rowId}-${place}${call === 'delete' ? TOMBSTONE_SUFFIX : ''}`,
        value: call === 'delete' ? '' : name,
      };
      return { key, ...(call !== 'check' && { append: row }), condition };
    });
    const row = {
      put: { id: rowId, value: name },
      delete: { id: rowId + TOMBSTONE_SUFFIX, value: '' },
      overwrite: { id: OVERWRITE_ID, value: name },
    }[operation.kind as 'put' | 'delete' | 'overwrite'];
    const single = key === undefined ? [] : [{ key, ...row }];
    const rows = items?.flatMap(({ key, append }) => (append === undefined ? [] : [{ key, ...append }])) ?? single;
    const made: Operation = {
      ifAbsent: false,
      ...operation,
      id,
      name,
      rows,
      ...(items && { items }),
      startedAt: this.world.now,
    };
    this.all.push(made);
    for (const written of rows) this.#byRow.set(nameOfRow(written), made);
    return made;
  }

  /** A handler begins to work on a request. */
  ran(operation: Operation, epoch: bigint, by: MemberId): void {
    const runs = this.#runs.get(operation.name) ?? [];
    const what = `operation ${operation.id} (${operation.kind})`;
    // A put that the fence of its term has refused may be tried again before its leader knows that the term is over.
    if (runs.includes(epoch) && operation.lifetime === undefined)
      violated('once per term', `${what} ran again in term ${epoch}, at ${by.incarnation}`);
    if (operation.refused === true && !isPut(operation))
      violated('refused is not run', `${what} ran after its caller was told that it had not`);
    if (runs.length > operation.maxReruns)
      violated('bounded re-runs', `${what} ran ${runs.length + 1} times, with at most ${operation.maxReruns} re-runs`);
    if (runs.length > 0) this.world.count('requests: ran again in a later term');
    this.#runs.set(operation.name, [...runs, epoch]);
  }

  succeeded(operation: Operation, timestamp: bigint | undefined): void {
    this.#end(operation);
    this.world.count(`requests: ${operation.kind} succeeded`);
    if (!this.#runs.has(operation.name)) violated('once per term', `operation ${operation.id} succeeded and never ran`);
    if (timestamp === undefined) return;
    for (const row of operation.rows) {
      const entry = this.#written.get(nameOfRow(row));
      if (entry?.timestamp !== timestamp && this.#lost.has(lossOf({ ...row, timestamp }))) return;
      if (entry === undefined) violated('K1', `put ${operation.id} was acknowledged and is not in the database`);
      if (entry.timestamp !== timestamp) {
        violated('K2', `put ${operation.id} was told ${timestamp} and is stored with ${entry.timestamp}`);
      }
    }
    operation.acknowledgedAt = timestamp;
  }

  failed(operation: Operation, error: unknown): void {
    this.#end(operation);
    const code = error instanceof HedgeError ? error.code : String(error);
    this.world.count(`requests: ${code}`);
    if (!(error instanceof HedgeError)) return;
    operation.refused = error.retryable || error.details['started'] === false || NOT_STARTED.has(error.code);
    const happened = isPut(operation) ? this.#hasWritten(operation) : this.#runs.has(operation.name);
    if (operation.refused && happened) {
      violated(
        'refused is not run',
        `${operation.kind} ${operation.id} happened, and its caller was told that it had not: ${error.message}`,
      );
    }
    const surelyNotWritten = error.code === 'CONFLICT' || error.code === 'LEASE_LOST';
    if (surelyNotWritten && this.#hasWritten(operation)) {
      violated('K1', `put ${operation.id} failed for good with ${code}, and was written`);
    }
  }

  /** The caller was notified which conditions do not hold, with the newest row of each key. That is a read, too. */
  conflicted(operation: Operation, refused: readonly { place: number; newest: LogPosition | undefined }[]): void {
    this.#end(operation);
    this.world.count(`requests: CONFLICT${operation.kind === 'transaction' ? ' of a transaction' : ''}`);
    const { id, items = [], startedAt } = operation;
    if (refused.length === 0) violated('K4', `put ${id} was refused for no reason`);
    if (this.#hasWritten(operation)) violated('K4', `put ${id} was written, and its caller got a conflict`);
    operation.conflictAfterLosses = this.#losses;
    for (const { place, newest } of refused) {
      const { key = '', condition } = items[place] ?? {};
      if (isSamePosition(newest, condition?.follows)) violated('K4', `put ${id} was refused, and its condition holds`);
      const latest =
        newest && [...this.#written.values()].find((entry) => entry.key === key && isSamePosition(entry, newest));
      if (latest !== undefined || newest === undefined) {
        this.#reads.push({ key, startedAt, endedAt: this.world.now, latest: latest ?? this.#buried.get(key) });
      } else if (this.#losses === 0) {
        violated('K4', `put ${id} was refused for a row that is not in the database`);
      }
    }
  }

  /**
   * The database has committed a row. An overwrite of a leader that was replaced since would undo a write that the next
   * one has acknowledged.
   */
  written(entry: LogEntry, lastToken: bigint): void {
    const name = nameOfRow(entry);
    const operation = this.#byRow.get(name);
    if (operation === undefined && entry.id.endsWith(EXPIRED_SUFFIX)) return this.#expired(entry, name);
    if (operation === undefined) violated('K1', `a row was written that nobody put: ${name}`);
    if (this.#written.has(name)) violated('K1', `put ${operation.id} happened twice`);
    if (operation.refused === true)
      violated('refused is not run', `put ${operation.id} was written after its caller was told that it had not been`);
    if ((entry.id === OVERWRITE_ID) !== (operation.kind === 'overwrite')) {
      violated('K3', `put ${operation.id} (${operation.kind}) was written with id ${entry.id}`);
    }
    this.#checkConditions(operation, entry);
    const term = this.#runs.get(operation.name)?.at(-1);
    // The leader of a lost term may write under the fence of the caller, who knows the term that the database has.
    if (operation.kind === 'overwrite' && term !== lastToken && !this.isLost(term ?? 0n)) {
      violated('K1', `overwrite ${operation.id} of term ${term} was written after ${lastToken} had begun`);
    }
    if (operation.lifetime !== undefined && term !== lastToken && !this.isLost(term ?? 0n)) {
      violated('K6', `put ${operation.id} of term ${term} was written after ${lastToken} had read the expiry rows`);
    }
    this.world.note('', () => `database: operation ${operation.id} written, ${entry.key} ${entry.timestamp}`);
    this.#written.set(name, entry);
    this.#notePart(operation);
    if (isTombstone(entry)) this.world.count('requests: a key deleted');
    if (operation.lifetime !== undefined) this.expiry.written(entry, operation.lifetime);
    if (entry.id !== OVERWRITE_ID) this.#appended.set(entry.key, (this.#appended.get(entry.key) ?? 0) + 1);
  }

  /** The leader has deleted a key because its time to live was over. */
  #expired(entry: LogEntry, name: string): void {
    if (this.#written.has(name)) violated('K1', `${name} was written twice`);
    this.expiry.expired(entry, this.#newest(entry.key));
    this.#written.set(name, entry);
    this.#appended.set(entry.key, (this.#appended.get(entry.key) ?? 0) + 1);
  }

  /** All rows of a put have the timestamp of the first one, which is written while all its conditions hold. */
  #checkConditions({ id, items = [], rows, conflictAfterLosses }: Operation, entry: LogEntry): void {
    // The row for which it was refused may be lost.
    if (conflictAfterLosses === this.#losses) violated('K4', `put ${id} was written after its caller got a conflict`);
    const [first] = rows.flatMap((row) => this.#written.get(nameOfRow(row)) ?? []);
    if (first !== undefined && first.timestamp !== entry.timestamp) {
      violated('K5', `transaction ${id} was written in the commits ${first.timestamp} and ${entry.timestamp}`);
    }
    if (first !== undefined) return;
    for (const { key, append, condition } of items) {
      if (condition === undefined) continue;
      const { follows } = condition;
      const before = this.#newest(key);
      if (!isSamePosition(before, follows)) {
        violated('K4', `put ${id} follows ${follows?.timestamp} of ${key}, and was written after ${before?.timestamp}`);
      }
      this.world.count('requests: a condition held');
      if (append === undefined) this.world.count('requests: a key only checked');
      if (before?.id === OVERWRITE_ID) this.world.count('requests: a condition on an overwritten row held');
    }
  }

  #newest(key: string): LogEntry | undefined {
    let newest: LogEntry | undefined;
    const buried = this.#buried.get(key);
    const after = buried !== undefined && this.#trimmed.has(buried) ? buried : undefined;
    for (const other of this.#written.values()) {
      if (this.#trimmed.has(other) || (after !== undefined && compareVersions(other, after) < 0)) continue;
      if (other.key === key && (newest === undefined || compareVersions(other, newest) > 0)) newest = other;
    }
    return newest;
  }

  #hasWritten({ rows }: Operation): boolean {
    return rows.some((row) => this.#written.has(nameOfRow(row)));
  }

  #notePart(operation: Operation): void {
    const written = operation.rows.filter((row) => this.#written.has(nameOfRow(row))).length;
    if (written > 0 && written < operation.rows.length) this.#partial.add(operation);
    else this.#partial.delete(operation);
  }

  /** K5. To call after every step, which is one commit at most. */
  check(): void {
    for (const { id } of this.#partial) violated('K5', `of transaction ${id}, only a part is written`);
  }

  /** The database has lost a row: the only way in which an acknowledged put may be gone (K1). It may be written again. */
  lost(entry: LogEntry): void {
    this.world.count(`database: lost a put${this.acknowledged(entry) ? ' that was acknowledged' : ''}`);
    this.#losses += 1;
    this.#lost.add(lossOf(entry));
    const name = nameOfRow(entry);
    this.#written.delete(name);
    const operation = this.#byRow.get(name);
    if (operation !== undefined) this.#notePart(operation);
    if (entry.id !== OVERWRITE_ID) this.#appended.set(entry.key, (this.#appended.get(entry.key) ?? 0) - 1);
  }

  /** Retention has deleted versions of one key, the oldest first. @param left whether it has others. */
  trimmed(entries: readonly LogEntry[], left: boolean): void {
    const [{ key } = { key: '' }] = entries;
    const newest = this.#newest(key);
    if (newest !== undefined && entries.includes(newest)) {
      if (!isTombstone(newest)) violated('K1', `retention has deleted the newest version of ${key}`);
      if (left) violated('K1', `retention has deleted a tombstone of ${key} before the versions that it hides`);
      this.world.count('retention: deleted a tombstone');
      this.#buried.set(key, newest);
    }
    for (const entry of entries) {
      this.#trimmed.add(entry);
      if (entry.id !== OVERWRITE_ID) this.#trims.set(entry.key, (this.#trims.get(entry.key) ?? 0) + 1);
    }
  }

  /** The database has lost the commit that deleted these. */
  restored(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      this.#trimmed.delete(entry);
      if (entry.id !== OVERWRITE_ID) this.#trims.set(entry.key, (this.#trims.get(entry.key) ?? 0) - 1);
    }
  }

  /** A pod begins to read a key. @returns a callback for all its versions, oldest first. */
  beginRead(key: string): (versions: readonly LogEntry[]) => void {
    const startedAt = this.world.now;
    const before = this.#appended.get(key) ?? 0;
    const losses = this.#losses;
    return (versions) => {
      this.#reads.push({ key, startedAt, endedAt: this.world.now, latest: versions.at(-1) ?? this.#buried.get(key) });
      const left = before - (this.#trims.get(key) ?? 0);
      if (versions.length < left && losses === this.#losses)
        violated('K3', `a read of ${key} has ${versions.length} of ${left} versions`);
    };
  }

  /** To call at the end: every call has ended, and the order of versions agrees with the order in time. */
  finish(alive: ReadonlySet<string>): void {
    for (const { id, kind, by, endedAt } of this.all) {
      if (endedAt === undefined && alive.has(by))
        violated('every call ends', `operation ${id} (${kind}) of ${by} never ended`);
    }
    const keys = new Set(this.all.flatMap(({ rows }) => rows.map(({ key }) => key)));
    for (const key of keys) this.#checkOrder(key);
  }

  /**
   * K2. Every effective put has its own version, so a register over one key is linearizable exactly if the
   * order of versions never contradicts the order in time: of two operations of which one ended before the
   * other began, the earlier one's version is not the later; equal only if the later one is a read.
   */
  #checkOrder(key: string): void {
    const points: { from: number; to: number; version: Version; read: boolean; what: string }[] = [];
    for (const { id, kind, rows, startedAt, endedAt } of this.all) {
      const row = rows.find((one) => one.key === key);
      const entry = row && this.#written.get(nameOfRow(row));
      if (entry === undefined) continue;
      // Without an answer it may have happened at any later time.
      points.push({
        from: startedAt,
        to: this.acknowledged(entry) ? (endedAt ?? Infinity) : Infinity,
        version: entry,
        read: false,
        what: `${kind} ${id}`,
      });
    }
    for (const { key: of, startedAt, endedAt, latest } of this.#reads) {
      if (latest !== undefined && this.#lost.has(lossOf(latest))) continue;
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

  /** Whether the caller was told of this version. */
  acknowledged(entry: LogEntry): boolean {
    return this.#byRow.get(nameOfRow(entry))?.acknowledgedAt === entry.timestamp;
  }

  #end(operation: Operation): void {
    if (operation.endedAt !== undefined) violated('every call ends', `operation ${operation.id} ended twice`);
    operation.endedAt = this.world.now;
  }
}

/** The codes that guarantee, by the table of errors, that nothing was done. */
const NOT_STARTED: ReadonlySet<string> = new Set(['NO_LEADER', 'MEMBER_UNREACHABLE', 'OVERLOADED']);

function lossOf(row: PutRow & { readonly timestamp: bigint }): string {
  return `${nameOfRow(row)} ${row.timestamp}`;
}

/** Overwritten rows have one id, and deletions one value. */
function nameOfRow({ id, value }: Omit<PutRow, 'key'>): string {
  return id === OVERWRITE_ID ? value : id;
}

export function isPut({ rows }: Operation): boolean {
  return rows.length > 0;
}
