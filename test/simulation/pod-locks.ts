import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { ContenderInput, DatabaseCall } from '../../libs/hedge/src/lease/lease-contender.messages.js';
import { holdsLease, type Term } from '../../libs/hedge/src/lease/lease-contender.core.js';
import { renewalPhaseMs } from '../../libs/hedge/src/lease/polling-pace.js';
import type { LockStateMachine } from '../../libs/hedge/src/locks/lock.core.js';
import type { LockEffect, LockInput } from '../../libs/hedge/src/locks/lock.messages.js';
import { LockQueueRunner, type LockQueueListener } from '../../libs/hedge/src/locks/lock-queue.runner.js';
import type { LeaderBelief } from '../../libs/hedge/src/messaging/leader-route.js';
import type { FrameBody, Link } from '../../libs/hedge/src/transport/transport.js';
import type { Cluster } from './cluster.js';
import type { DriverCall, SimulatedDriver } from './driver.js';
import type { HeldLock, LockPod } from './lock-oracle.js';
import type { PodRenewer } from './pod-renewer.js';
import type { Thread } from './machine.js';
import { violated } from './violation.js';

/** The part of a pod that its locks need. */
export interface LockHost {
  readonly self: MemberId;
  readonly main: Thread;
  readonly renewer: PodRenewer | undefined;
  readonly alive: boolean;
  readonly driver: SimulatedDriver;
  /** False in version 0.1, which has no queues of locks. */
  readonly acceptsChanges: boolean;
  current(): LeaderBelief | undefined;
  now(): Instant;
  after(ms: number, action: () => void): () => void;
}

interface LockCaller {
  readonly name: string;
  readonly holdMs: number;
  readonly granted: () => void;
}

interface LockEntry {
  readonly name: string;
  readonly machine: LockStateMachine;
  /** As the queue knows it. */
  waitsSince: number | undefined;
}

interface QueuedRenewal {
  readonly entry: LockEntry;
  readonly round: number;
  readonly call: Extract<DatabaseCall, { type: 'renew' }>;
}

/** The locks of one process: the real cores and queues, with the simulation instead of `LockManager`. */
export class PodLocks implements LockPod, LockQueueListener {
  readonly #queue: LockQueueRunner;
  /** The locks whose lease this process reads for others, too. */
  readonly #reads = new Set<string>();
  readonly #entries = new Map<string, LockEntry>();
  readonly #callers = new Map<number, LockCaller>();
  readonly #held = new Map<string, HeldLock>();
  #lastCaller = 0;
  readonly #inputs: { readonly entry: LockEntry; readonly input: LockInput }[] = [];
  readonly #renewals: QueuedRenewal[] = [];
  readonly #phaseMs: number;
  #inBatch = false;
  #jitter = 0;
  #wake: { readonly at: number; readonly cancel: () => void } | undefined;

  constructor(
    private readonly host: LockHost,
    private readonly cluster: Cluster,
  ) {
    this.#phaseMs = renewalPhaseMs(cluster.timing.leaseMs, cluster.random.next);
    const linked = (member: MemberId): Link => this.#linkTo(member);
    this.#queue = new LockQueueRunner({
      transport: { self: host.self, linked, dialled: linked, links: () => this.#links() },
      route: host,
      clock: host,
      leaseMs: cluster.timing.leaseMs,
      makeQueue: cluster.parts.lockQueue,
    });
    this.#queue.listen(this);
  }

  get self(): MemberId {
    return this.host.self;
  }

  get alive(): boolean {
    return this.host.alive;
  }

  now(): Instant {
    return this.host.now();
  }

  superseded(name: string, token: bigint): boolean {
    return this.host.renewer?.renewed(name, token) === 'superseded';
  }

  lockTerm(name: string): Term | undefined {
    return this.#entries.get(name)?.machine.term;
  }

  /** A caller acquires a lock, holds it for a while, and releases it. */
  use(name: string, once: boolean, patienceMs: number, holdMs: number, granted: () => void = () => undefined): void {
    this.#lastCaller += 1;
    const waiter = this.#lastCaller;
    const entry = this.#entry(name);
    this.#callers.set(waiter, { name, holdMs, granted });
    this.host.after(patienceMs, () => {
      if (!this.#callers.delete(waiter)) return;
      this.cluster.world.count('locks: gave up');
      this.#step(entry, { type: 'cancel-wait', waiter });
    });
    this.#step(entry, { type: 'wait', waiter, once });
  }

  /** Releases all held locks, as a process that stops. */
  close(): void {
    for (const { name } of this.#held.values()) this.#release(name);
  }

  releasedElsewhere(name: string, token: bigint, successor?: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.host.driver.heard(name, token);
    this.host.renewer?.heard(name, token);
    if (successor !== undefined) this.cluster.world.count('locks: successor notified');
    this.#step(entry, { type: 'released-elsewhere', token, successor });
  }

  queued(name: string, reads: boolean): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.cluster.world.count(reads ? 'locks: reads for others' : 'locks: leaves the reads to others');
    if (reads) this.#reads.add(name);
    else this.#reads.delete(name);
    this.#step(entry, { type: 'queued', reads });
  }

  /** Whether this process waits for a lock and is one of those that read its lease. */
  reads(name: string): boolean {
    return this.#reads.has(name) && this.waits(name);
  }

  waits(name: string): boolean {
    return this.#entries.get(name)?.waitsSince !== undefined;
  }

  heartbeat(from: MemberId, acceptsChanges: boolean): void {
    this.#queue.heartbeat(this.#linkTo(from), acceptsChanges);
  }

  /** The link from that process has closed. */
  unlinked(member: MemberId): void {
    this.#queue.unlinked(member);
  }

  #links(): Link[] {
    return this.cluster.pods().flatMap(({ self }) => (self === this.self ? [] : [this.#linkTo(self)]));
  }

  /** Frames are lost, repeated and reordered, and the links never close. */
  #linkTo(member: MemberId): Link {
    const { network } = this.cluster;
    const send = (body: FrameBody): void =>
      network.datagram(this.self.address, member.address, () => {
        const pod = this.cluster.pod(member.address);
        if (pod?.self.incarnation === member.incarnation)
          pod.run(() => pod.locks.#frame(this.#linkTo(this.self), body));
      });
    return { peer: member, direction: 'accepted', send } as Partial<Link> as Link;
  }

  #frame(link: Link, body: FrameBody): void {
    if (this.host.acceptsChanges) this.#queue.frame(link, body);
    else if (body.$case === 'lockReleased') this.releasedElsewhere(body.value.name, body.value.token);
  }

  #entry(name: string): LockEntry {
    const known = this.#entries.get(name);
    if (known !== undefined) return known;
    const { timing, parts } = this.cluster;
    const { observes } = this.host.driver;
    const { renewer } = this.host;
    const renewed = renewer && ((token: bigint) => renewer.renewed(name, token));
    const settings = {
      self: this.self,
      timing,
      observes,
      renewed,
      random: () => this.#jitter,
      renewalPhaseMs: this.#phaseMs,
    };
    const entry = { name, machine: parts.lock(settings), waitsSince: undefined };
    this.#entries.set(name, entry);
    return entry;
  }

  #step(entry: LockEntry, input: LockInput): void {
    this.#batch([{ entry, input }]);
  }

  /** As `LockManager` does it: one input at a time, all renewals together at the end. */
  #batch(inputs: readonly { readonly entry: LockEntry; readonly input: LockInput }[]): void {
    this.#inputs.push(...inputs);
    if (this.#inBatch) return;
    this.#inBatch = true;
    this.#jitter = this.cluster.random.next();
    const touched = new Set<LockEntry>();
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      const { entry, input } = next;
      touched.add(entry);
      for (const effect of entry.machine.step(input, this.host.now())) this.#perform(entry, effect);
      this.#enqueue(entry);
    }
    if (this.#renewals.length > 0) this.#renew(this.#renewals.splice(0));
    for (const entry of touched) {
      if (entry.machine.isIdle(this.host.now()) && this.#entries.get(entry.name) === entry) {
        this.#entries.delete(entry.name);
      }
    }
    this.#inBatch = false;
    this.#scheduleWake();
  }

  #enqueue(entry: LockEntry): void {
    const { waitsSince } = entry.machine;
    if (!this.host.acceptsChanges || waitsSince === entry.waitsSince) return;
    entry.waitsSince = waitsSince;
    if (waitsSince === undefined) this.#queue.leave(entry.name);
    else this.#queue.wait(entry.name, waitsSince);
  }

  #scheduleWake(): void {
    const at = Math.min(...[...this.#entries.values()].map(({ machine }) => machine.wakeAt ?? Infinity));
    if (at === (this.#wake?.at ?? Infinity)) return;
    this.#wake?.cancel();
    this.#wake = undefined;
    if (at === Infinity) return;
    const cancel = this.host.after(at - this.host.now().mono, () => {
      this.#wake = undefined;
      const { mono } = this.host.now();
      const due = [...this.#entries.values()].filter(({ machine }) => (machine.wakeAt ?? Infinity) <= mono);
      this.#batch(due.map((entry) => ({ entry, input: { type: 'tick' } })));
    });
    this.#wake = { at, cancel };
  }

  #perform(entry: LockEntry, effect: LockEffect): void {
    const { world } = this.cluster;
    const { name } = entry;
    switch (effect.type) {
      case 'call':
        if (effect.call.type === 'renew') this.#renewals.push({ entry, round: effect.round, call: effect.call });
        else this.#call(entry, effect.round, effect.call);
        return;
      case 'acquired':
        return this.host.renewer?.hold(name, effect, true, () => this.#step(entry, { type: 'tick' }));
      case 'ended':
        return this.host.renewer?.drop(name, effect.token);
      case 'granted':
        return this.#granted(entry, effect.waiter, effect.token);
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
        if (this.host.acceptsChanges) return this.#queue.released(name, effect.token);
        for (const link of this.#links()) {
          link.send({ $case: 'lockReleased', value: { name, token: effect.token, relayed: false, successor: '' } });
        }
        return;
      case 'released':
        world.count('locks: released');
        return;
    }
  }

  #granted({ name }: LockEntry, waiter: number, token: bigint): void {
    const { world, locks, fenced, database } = this.cluster;
    world.count('locks: granted');
    world.note(this.self.incarnation, () => `has lock ${name} ${token}`);
    const held = locks.granted(this, name, token);
    fenced.holds(`lock ${name}`, this.self, { database, name, token }, () => this.holds(name, token));
    this.#held.set(name, held);
    const caller = this.#callers.get(waiter);
    this.#callers.delete(waiter);
    caller?.granted();
    this.host.after(caller?.holdMs ?? 0, () => {
      if (this.#held.get(name) === held) this.#release(name);
    });
  }

  holds(name: string, token: bigint): boolean {
    const term = this.lockTerm(name);
    if (this.#held.get(name)?.token !== token || term?.token !== token) return false;
    return holdsLease(term, this.cluster.timing, this.now());
  }

  /** As `Lock.isValid`, for each held lock. */
  check(beforeEach: () => void): void {
    for (const { name, token } of this.#held.values()) {
      const entry = this.#entries.get(name);
      if (entry === undefined || this.lockTerm(name)?.token !== token) continue;
      beforeEach();
      if (this.holds(name, token)) continue;
      this.host.renewer?.drop(name, token);
      this.#step(entry, { type: 'lapsed', token });
      if (this.holds(name, token)) violated('L3', `lock ${name} ${token} is valid again`);
    }
  }

  #release(name: string): void {
    const held = this.#held.get(name);
    const entry = this.#entries.get(name);
    if (held === undefined || entry === undefined) return;
    this.#ended(held);
    this.#step(entry, { type: 'release', token: held.token });
  }

  #ended(held: HeldLock): void {
    this.#held.delete(held.name);
    this.cluster.locks.ended(held);
  }

  #call(entry: LockEntry, round: number, call: Exclude<DatabaseCall, { type: 'renew' }>): void {
    const { attempt } = call;
    const { name } = entry;
    const { driver } = this.host;
    this.cluster.world.count('locks: called the database');
    const claim = { holder: this.self, leaseMs: this.cluster.timing.leaseMs };
    const ask = <Answer, Result>(
      { effect, result }: DriverCall<Answer, Result>,
      input: (result: Result | undefined) => ContenderInput,
    ): void => {
      this.#ask(effect, (answer) => {
        const got = input(answer === undefined ? undefined : result(answer));
        this.#step(entry, { type: 'answered', round, answer: { ...got, attempt } as never });
      });
    };
    if (call.type === 'read') return ask(driver.read(name), (record) => ({ type: 'read', attempt, record }));
    if (call.type === 'acquire') {
      return ask(driver.acquire(name, claim), (result) => ({ type: 'acquired', attempt, result }));
    }
    ask(driver.release(name, this.self, call.token), (released) => ({ type: 'released', attempt, released }));
  }

  /** One transaction for all. */
  #renew(renewals: readonly QueuedRenewal[]): void {
    const claim = { holder: this.self, leaseMs: this.cluster.timing.leaseMs };
    if (renewals.length > 1) this.cluster.world.count('locks: renewed together');
    const calls = renewals.map(({ entry, call }) =>
      this.host.driver.renew(entry.name, claim, call.token, BigInt(call.attempt)),
    );
    this.#ask(
      () => calls.map(({ effect }) => effect()),
      (answers) => {
        this.#batch(
          renewals.map(({ entry, round, call: { attempt } }, index) => {
            const answer = answers?.[index];
            const result = answer && calls[index]?.result(answer);
            return { entry, input: { type: 'answered', round, answer: { type: 'renewed', attempt, result } } };
          }),
        );
      },
    );
  }

  /** @param done called with the answer, unless this process has died; undefined when there is none. */
  #ask<Answer>(effect: () => Answer, done: (answer: Answer | undefined) => void): void {
    const { driver, main } = this.host;
    this.cluster.connection.call(main, driver.call(effect), (outcome) => {
      if (!this.alive) return;
      const answer = outcome.type === 'done' ? outcome.result : undefined;
      if (answer !== 'replaced') return done(answer);
      driver.replaced();
      done(undefined);
    });
  }
}
