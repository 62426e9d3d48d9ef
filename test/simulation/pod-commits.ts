import { isSamePosition, type LogEntry } from '../../libs/hedge/src/database/log-table.js';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { GroupCommit } from '../../libs/hedge/src/kv/group-commit.core.js';
import {
  DEFAULT_GROUP_COMMIT_LIMITS,
  type GroupCommitEffect,
  type GroupCommitInput,
  type PutOutcome,
  type PutTransaction,
  type Write,
} from '../../libs/hedge/src/kv/group-commit.messages.js';
import { Timeline } from '../../libs/hedge/src/messaging/server/timeline.js';
import type { Cluster } from './cluster.js';

/** The part of its process that the group commit needs. */
export interface CommitHost {
  readonly self: MemberId;
  readonly alive: boolean;
  now(): Instant;
  after(ms: number, action: () => void): () => void;
}

/** The group commit of one process's puts: the real core on the simulated database. */
export class PodCommits {
  readonly #core: GroupCommit;
  readonly #settle = new Map<number, (outcome: PutOutcome) => void>();
  readonly #tried = new Set<string>();
  /** The newest row of each key, for the planted bug of a leader that remembers it. */
  readonly #remembered = new Map<string, LogEntry | undefined>();
  readonly #timeline = new Timeline();
  #tickets = 0;
  #cancelWake: () => void = () => undefined;

  constructor(
    private readonly host: CommitHost,
    private readonly cluster: Cluster,
    private readonly committed: (keys: readonly string[]) => void,
  ) {
    const { retryMs } = cluster.timing;
    this.#core = new GroupCommit({ ...DEFAULT_GROUP_COMMIT_LIMITS, maxBatchRows: 4, retryMs });
  }

  /** @param end called once, with the outcome. */
  put(write: Write, timeoutMs: number, end: (outcome: PutOutcome) => void): void {
    const deadline = this.#now() + timeoutMs;
    const ticket = (this.#tickets += 1);
    this.#settle.set(ticket, end);
    this.#step({ type: 'put', ticket, write, deadline });
  }

  #step(input: GroupCommitInput): void {
    const now = this.#now();
    for (const effect of this.#core.step(input, now)) this.#perform(effect, now);
  }

  #now(): number {
    return this.#timeline.advance(this.host.now());
  }

  #perform(effect: GroupCommitEffect, now: number): void {
    const { random } = this.cluster;
    switch (effect.type) {
      case 'append': {
        const again = this.cluster.parts.retriesPutsAsOverwrites && effect.rows.some(({ id }) => this.#tried.has(id));
        for (const { id } of effect.rows) this.#tried.add(id);
        return this.#write(
          effect.rows.map(({ key }) => key),
          effect.fence,
          (database) =>
            again
              ? effect.rows.map((row) => database.overwrite(row, this.host.self.address))
              : database.append(effect.rows, this.host.self.address),
          (outcome) => this.#appended(outcome),
        );
      }
      case 'append-if':
        return this.#appendIf(effect.transactions, effect.fence);
      case 'overwrite': {
        const { run } = effect;
        return this.#write(
          [effect.row.key],
          effect.row.fence,
          (database) => database.overwrite(effect.row, this.host.self.address),
          (outcome, unknown) => {
            if (!(outcome instanceof HedgeError)) {
              return this.#step({ type: 'overwritten', run, timestamp: outcome.timestamp });
            }
            const error = unknown ? new HedgeError('OUTCOME_UNKNOWN', 'simulated') : outcome;
            this.#step({ type: 'overwrite-failed', run, error, random: random.next() });
          },
        );
      }
      case 'settle': {
        this.#settle.get(effect.ticket)?.(effect.outcome);
        this.#settle.delete(effect.ticket);
        return;
      }
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.host.after(Math.max(0, effect.at - now), () => this.#step({ type: 'flush' }));
    }
  }

  #appendIf(transactions: readonly PutTransaction[], fence: bigint): void {
    const { address } = this.host.self;
    const { conditions } = this.cluster.parts;
    const all = transactions.map(({ items }) => items);
    const keys = all.flat().map(({ key }) => key);
    if (all.length > 1) this.cluster.world.count('puts: several conditions in one transaction');
    if (conditions === 'in the transaction') {
      return this.#write(
        keys,
        fence,
        (database) => database.appendIf(all, address),
        (outcome) => this.#appended(outcome),
      );
    }
    // Planted bugs: what the leader has read, or remembers, may be old when it writes.
    const decide = (newest: ReadonlyMap<string, LogEntry | undefined>): void =>
      this.#write(
        keys,
        fence,
        (database) =>
          all.map((items): PutOutcome => {
            const refused = items.flatMap(({ key, condition }, place) =>
              condition === undefined || isSamePosition(newest.get(key), condition.follows)
                ? []
                : [{ place, newest: newest.get(key) }],
            );
            if (refused.length > 0) return { refused };
            const rows = items.flatMap(({ key, append }) => (append === undefined ? [] : [{ key, ...append }]));
            return database.append(rows, address)[0]!;
          }),
        (outcome) => {
          if (!(outcome instanceof HedgeError)) for (const key of keys) this.#remembered.set(key, this.#newest(key));
          this.#appended(outcome);
        },
      );
    if (conditions === 'in memory' && keys.every((key) => this.#remembered.has(key))) return decide(this.#remembered);
    this.#write(
      [],
      fence,
      () => new Map(keys.map((key) => [key, this.#newest(key)])),
      (outcome) => {
        if (outcome instanceof HedgeError) return this.#appended(outcome);
        for (const [key, newest] of outcome) this.#remembered.set(key, newest);
        decide(outcome);
      },
    );
  }

  #newest(key: string): LogEntry | undefined {
    return this.cluster.database.versions(key).at(-1);
  }

  #appended(outcome: readonly PutOutcome[] | HedgeError): void {
    this.#step(
      outcome instanceof HedgeError
        ? { type: 'append-failed', error: outcome, random: this.cluster.random.next() }
        : { type: 'appended', outcomes: outcome },
    );
  }

  /** One transaction on the log, fenced if asked. */
  #write<Result>(
    keys: readonly string[],
    fence: bigint,
    effect: (database: Cluster['database']) => Result,
    done: (outcome: Result | HedgeError, unknown: boolean) => void,
  ): void {
    const { connection, database } = this.cluster;
    const transaction = (): Result | HedgeError =>
      fence === 0n || database.lease.token === fence ? effect(database) : new HedgeError('LEASE_LOST', 'simulated');
    connection.call(this.cluster.thread(this.host.self.address), transaction, (outcome) => {
      if (!this.host.alive) return;
      this.committed(keys);
      if (outcome.type === 'done') return done(outcome.result, false);
      done(new HedgeError('BACKEND_UNAVAILABLE', 'simulated'), outcome.type === 'unknown');
    });
  }
}
