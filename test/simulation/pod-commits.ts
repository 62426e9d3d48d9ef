import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { GroupCommit } from '../../libs/hedge/src/kv/group-commit.core.js';
import {
  DEFAULT_GROUP_COMMIT_LIMITS,
  type GroupCommitEffect,
  type GroupCommitInput,
  type PutOutcome,
  type PutRow,
} from '../../libs/hedge/src/kv/group-commit.messages.js';
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
  #tickets = 0;

  constructor(
    private readonly host: CommitHost,
    private readonly cluster: Cluster,
  ) {
    const { retryMs } = cluster.timing;
    this.#core = new GroupCommit({ ...DEFAULT_GROUP_COMMIT_LIMITS, maxBatchRows: 4, retryMs });
  }

  /** @param end called once, with the outcome. */
  put(row: PutRow, deadline: number, end: (outcome: PutOutcome) => void): void {
    const ticket = (this.#tickets += 1);
    this.#settle.set(ticket, end);
    this.#step({ type: 'put', ticket, row, deadline });
  }

  #step(input: GroupCommitInput): void {
    const { mono } = this.host.now();
    for (const effect of this.#core.step(input, mono)) this.#perform(effect, mono);
  }

  #perform(effect: GroupCommitEffect, now: number): void {
    const { random } = this.cluster;
    switch (effect.type) {
      case 'append': {
        const again = this.cluster.parts.retriesPutsAsOverwrites && effect.rows.some(({ id }) => this.#tried.has(id));
        for (const { id } of effect.rows) this.#tried.add(id);
        return this.#write(
          effect.fence,
          (database) =>
            again
              ? effect.rows.map((row) => database.overwrite(row, this.host.self.address))
              : database.append(effect.rows, this.host.self.address),
          (outcome) =>
            this.#step(
              outcome instanceof HedgeError
                ? { type: 'append-failed', error: outcome, random: random.next() }
                : { type: 'appended', outcomes: outcome },
            ),
        );
      }
      case 'overwrite': {
        const { run } = effect;
        return this.#write(
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
        this.host.after(Math.max(0, effect.at - now), () => this.#step({ type: 'flush' }));
    }
  }

  /** One transaction on the log, fenced if asked. */
  #write<Result>(
    fence: bigint,
    effect: (database: Cluster['database']) => Result,
    done: (outcome: Result | HedgeError, unknown: boolean) => void,
  ): void {
    const { connection, database } = this.cluster;
    const transaction = (): Result | HedgeError =>
      fence === 0n || database.lease.token === fence ? effect(database) : new HedgeError('LEASE_LOST', 'simulated');
    connection.call(this.cluster.thread(this.host.self.address), transaction, (outcome) => {
      if (!this.host.alive) return;
      if (outcome.type === 'done') return done(outcome.result, false);
      done(new HedgeError('BACKEND_UNAVAILABLE', 'simulated'), outcome.type === 'unknown');
    });
  }
}
