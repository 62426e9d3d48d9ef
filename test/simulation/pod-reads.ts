import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { LogEntry } from '../../libs/hedge/src/database/log-table.js';
import type { GetBatcher, GetEffect, GetInput, GetOutcome } from '../../libs/hedge/src/kv/get-batcher.core.js';
import type { Cluster } from './cluster.js';
import type { Thread } from './machine.js';

/** The part of its process that reads need. */
export interface ReadHost {
  readonly main: Thread;
  readonly alive: boolean;
  after(ms: number, action: () => void): () => void;
}

/** All versions of a key, oldest first: what a read of the simulation returns. */
export type Versions = readonly LogEntry[];

/** The gets of one process: the real core on the simulated database. */
export class PodReads {
  readonly #core: GetBatcher<Versions>;
  readonly #settle = new Map<number, (outcome: GetOutcome<Versions>) => void>();
  #tickets = 0;

  constructor(
    private readonly host: ReadHost,
    private readonly cluster: Cluster,
  ) {
    this.#core = cluster.parts.gets({ maxKeys: 3, maxCalls: 2 });
  }

  /** @param end called once, unless the process ends or the caller gives up before. */
  get(key: string, timeoutMs: number, end: (outcome: GetOutcome<Versions>) => void): void {
    const ticket = (this.#tickets += 1);
    this.#settle.set(ticket, end);
    this.host.after(timeoutMs, () => {
      if (!this.#settle.delete(ticket)) return;
      this.cluster.world.count('reads: gave up');
      this.#step({ type: 'cancel', ticket });
    });
    this.#step({ type: 'get', ticket, key });
  }

  #step(input: GetInput<Versions>): void {
    for (const effect of this.#core.step(input)) this.#perform(effect);
  }

  #perform(effect: GetEffect<Versions>): void {
    switch (effect.type) {
      case 'read':
        return this.#read(effect.call, effect.keys);
      case 'settle':
        this.#settle.get(effect.ticket)?.(effect.outcome);
        this.#settle.delete(effect.ticket);
        return;
      case 'flush-later':
        this.host.after(0, () => this.#step({ type: 'flush' }));
    }
  }

  #read(call: number, keys: readonly string[]): void {
    const { connection, database, random, world } = this.cluster;
    if (keys.length > 1) world.count('reads: several keys in one call');
    // Values that are too large to share an answer.
    const asked = keys.length > 1 && random.chance(0.2) ? keys.slice(0, -1) : keys;
    if (asked.length < keys.length) world.count('reads: a key left out');
    connection.call(
      this.host.main,
      () => new Map(asked.map((key) => [key, database.versions(key)])),
      (outcome) => {
        if (!this.host.alive) return;
        if (outcome.type === 'done') return this.#step({ type: 'answered', call, found: outcome.result });
        this.#step({ type: 'failed', call, error: new HedgeError('BACKEND_UNAVAILABLE', 'simulated') });
      },
    );
  }
}
