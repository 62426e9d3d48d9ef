import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { ContenderInput, DatabaseCall } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import type { Term } from '../../libs/hedge/src/lease/term.js';
import type { LockStateMachine } from '../../libs/hedge/src/locks/lock.core.js';
import type { LockEffect, LockInput } from '../../libs/hedge/src/locks/lock.messages.js';
import type { Cluster } from './cluster.js';
import { SimulatedLeaseTable } from './database.js';
import type { Holding, LockPod } from './lock-oracle.js';
import type { Machine } from './machine.js';

/** What a pod's locks need of it. */
export interface LockHost {
  readonly self: MemberId;
  readonly machine: Machine;
  readonly alive: boolean;
  now(): Instant;
  after(ms: number, action: () => void): () => void;
}

interface Caller {
  readonly name: string;
  readonly holdMs: number;
  readonly granted: () => void;
}

interface Named {
  readonly name: string;
  readonly contest: LockStateMachine;
  readonly table: SimulatedLeaseTable;
}

interface Renewal {
  readonly named: Named;
  readonly round: number;
  readonly call: Extract<DatabaseCall, { type: 'renew' }>;
}

/** The locks of one process: the real cores, and in place of `LockManager` the simulation. */
export class PodLocks implements LockPod {
  readonly #names = new Map<string, Named>();
  readonly #callers = new Map<number, Caller>();
  readonly #held = new Map<string, Holding>();
  #lastCaller = 0;
  readonly #inputs: { readonly named: Named; readonly input: LockInput }[] = [];
  readonly #renewals: Renewal[] = [];
  #inTurn = false;
  #jitter = 0;
  #wake: { readonly at: number; readonly cancel: () => void } | undefined;

  constructor(
    private readonly host: LockHost,
    private readonly cluster: Cluster,
  ) {}

  get self(): MemberId {
    return this.host.self;
  }

  get alive(): boolean {
    return this.host.alive;
  }

  now(): Instant {
    return this.host.now();
  }

  lockTerm(name: string): Term | undefined {
    return this.#names.get(name)?.contest.term;
  }

  /** A caller wants a lock, has it for a while, and gives it back. */
  use(name: string, once: boolean, patienceMs: number, holdMs: number, granted: () => void = () => undefined): void {
    this.#lastCaller += 1;
    const waiter = this.#lastCaller;
    const named = this.#named(name);
    this.#callers.set(waiter, { name, holdMs, granted });
    this.host.after(patienceMs, () => {
      if (!this.#callers.delete(waiter)) return;
      this.cluster.world.count('locks: gave up');
      this.#step(named, { type: 'give-up', waiter });
    });
    this.#step(named, { type: 'wait', waiter, once });
  }

  /** As a process that stops: gives back what it holds. */
  close(): void {
    for (const { name } of this.#held.values()) this.#release(name);
  }

  releasedElsewhere(name: string, token: bigint): void {
    const named = this.#names.get(name);
    if (named !== undefined) this.#step(named, { type: 'released-elsewhere', token });
  }

  #named(name: string): Named {
    const known = this.#names.get(name);
    if (known !== undefined) return known;
    const { timing, parts, locks } = this.cluster;
    const table = new SimulatedLeaseTable(locks.row(name), () => this.host.now(), this.cluster.timing.leaseMs);
    const settings = { self: this.self, timing, observes: table.observes, random: () => this.#jitter };
    const named = { name, table, contest: parts.lock(settings) };
    this.#names.set(name, named);
    return named;
  }

  #step(named: Named, input: LockInput): void {
    this.#turn([{ named, input }]);
  }

  /** As `LockManager` does it: one input at a time, all renewals together at the end. */
  #turn(inputs: readonly { readonly named: Named; readonly input: LockInput }[]): void {
    this.#inputs.push(...inputs);
    if (this.#inTurn) return;
    this.#inTurn = true;
    this.#jitter = this.cluster.random.next();
    const touched = new Set<Named>();
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      const { named, input } = next;
      touched.add(named);
      for (const effect of named.contest.step(input, this.host.now())) this.#perform(named, effect);
    }
    if (this.#renewals.length > 0) this.#renew(this.#renewals.splice(0));
    for (const named of touched) {
      if (named.contest.isIdle(this.host.now()) && this.#names.get(named.name) === named) {
        this.#names.delete(named.name);
      }
    }
    this.#inTurn = false;
    this.#setAlarm();
  }

  #setAlarm(): void {
    const at = Math.min(...[...this.#names.values()].map(({ contest }) => contest.wakeAt ?? Infinity));
    if (at === (this.#wake?.at ?? Infinity)) return;
    this.#wake?.cancel();
    this.#wake = undefined;
    if (at === Infinity) return;
    const cancel = this.host.after(at - this.host.now().mono, () => {
      this.#wake = undefined;
      const { mono } = this.host.now();
      const due = [...this.#names.values()].filter(({ contest }) => (contest.wakeAt ?? Infinity) <= mono);
      this.#turn(due.map((named) => ({ named, input: { type: 'tick' } })));
    });
    this.#wake = { at, cancel };
  }

  #perform(named: Named, effect: LockEffect): void {
    const { world, network } = this.cluster;
    const { name } = named;
    switch (effect.type) {
      case 'call':
        if (effect.call.type === 'renew') this.#renewals.push({ named, round: effect.round, call: effect.call });
        else this.#call(named, effect.round, effect.call);
        return;
      case 'granted':
        return this.#granted(named, effect.waiter, effect.token);
      case 'refused':
        world.count(effect.failed ? 'locks: not known' : 'locks: taken');
        this.#callers.delete(effect.waiter);
        return;
      case 'lost': {
        world.count(`locks: lost, ${effect.reason}`);
        world.note(this.self.incarnation, () => `lost lock ${name} ${effect.token}: ${effect.reason}`);
        const held = this.#held.get(name);
        if (held?.token === effect.token) this.#ended(held);
        return;
      }
      case 'announce-released':
        for (const { self } of this.cluster.pods()) {
          if (self === this.self) continue;
          network.datagram(this.self.address, self.address, () => {
            const pod = this.cluster.pod(self.address);
            if (pod?.self.incarnation === self.incarnation) {
              pod.run(() => pod.locks.releasedElsewhere(name, effect.token));
            }
          });
        }
        return;
      case 'given-back':
        world.count('locks: given back');
        return;
    }
  }

  #granted({ name }: Named, waiter: number, token: bigint): void {
    const { world, locks } = this.cluster;
    world.count('locks: granted');
    world.note(this.self.incarnation, () => `has lock ${name} ${token}`);
    const held = locks.granted(this, name, token);
    this.#held.set(name, held);
    const caller = this.#callers.get(waiter);
    this.#callers.delete(waiter);
    caller?.granted();
    this.host.after(caller?.holdMs ?? 0, () => {
      if (this.#held.get(name) === held) this.#release(name);
    });
  }

  #release(name: string): void {
    const held = this.#held.get(name);
    const named = this.#names.get(name);
    if (held === undefined || named === undefined) return;
    this.#ended(held);
    this.#step(named, { type: 'release', token: held.token });
  }

  #ended(held: Holding): void {
    this.#held.delete(held.name);
    this.cluster.locks.ended(held);
  }

  #call(named: Named, round: number, call: Exclude<DatabaseCall, { type: 'renew' }>): void {
    const { attempt } = call;
    const row = this.cluster.locks.row(named.name);
    const claim = { holder: this.self, leaseMs: this.cluster.timing.leaseMs };
    const ask = <Result>(effect: () => Result, input: (result: Result | undefined) => ContenderInput): void => {
      this.cluster.connection.call(this.host.machine, effect, (outcome) => {
        const answer = input(outcome.type === 'done' ? outcome.result : undefined);
        if (this.alive) this.#step(named, { type: 'answered', round, answer: { ...answer, attempt } as never });
      });
    };
    const after = <Result>(result: Result) => [result, row.lease, row.expiresInMs(row.lease)] as const;
    if (call.type === 'read') {
      return ask(
        () => after(true),
        (got) => ({ type: 'read', attempt, record: got && named.table.record(got[1], got[2]) }),
      );
    }
    if (call.type === 'acquire') {
      const expired = named.table.expiredMarker();
      return ask(
        () => after(row.takeLease(claim, expired)),
        (got) => ({ type: 'acquired', attempt, result: got && named.table.acquireResult(...got) }),
      );
    }
    const { token } = call;
    ask(
      () => row.releaseLease(this.self, token),
      (released) => ({ type: 'released', attempt, released }),
    );
  }

  /** One transaction for all. */
  #renew(renewals: readonly Renewal[]): void {
    const { locks, timing, connection } = this.cluster;
    const claim = { holder: this.self, leaseMs: timing.leaseMs };
    if (renewals.length > 1) this.cluster.world.count('locks: renewed together');
    connection.call(
      this.host.machine,
      () =>
        renewals.map(({ named, call }) => {
          const row = locks.row(named.name);
          return [row.renewLease(claim, call.token), row.lease, row.expiresInMs(row.lease)] as const;
        }),
      (outcome) => {
        if (!this.alive) return;
        this.#turn(
          renewals.map(({ named, round, call: { attempt } }, index) => {
            const got = outcome.type === 'done' ? outcome.result[index] : undefined;
            const result = got && named.table.renewResult(...got);
            return { named, input: { type: 'answered', round, answer: { type: 'renewed', attempt, result } } };
          }),
        );
      },
    );
  }
}
