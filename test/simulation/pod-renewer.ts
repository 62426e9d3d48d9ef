import type { Instant } from '../../libs/hedge/src/common/clock.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type {
  LeaseRenewer,
  RenewerEffect,
  RenewerInput,
} from '../../libs/hedge/src/lease/renewal/lease-renewer.core.js';
import { SharedTerm } from '../../libs/hedge/src/lease/renewal/shared-term.js';
import type { TermRenewer } from '../../libs/hedge/src/lease/renewal/term-renewer.js';
import type { Term } from '../../libs/hedge/src/lease/lease-contender.core.js';
import type { Cluster } from './cluster.js';
import type { SimulatedDriver } from './driver.js';
import type { MainThread } from './machine.js';

/** The part of a pod that its renewal thread needs. */
export interface RenewerHost {
  readonly self: MemberId;
  readonly main: MainThread;
  readonly alive: boolean;
  now(): Instant;
  after(ms: number, action: () => void): () => void;
}

interface HeldTerm {
  readonly id: number;
  readonly name: string;
  readonly term: Term;
  readonly batched: boolean;
  readonly changed: () => void;
  readonly shared: SharedTerm;
  /** The highest token above its own that was heard during the term. */
  heard: bigint | undefined;
}

/** The interval of the timer of the main thread. */
const TURN_MS = 200;

/** The renewal thread of one process and its main thread's side: the real core and the real shared memory. */
export class PodRenewer {
  /** The thread is another one after its death. */
  #core: LeaseRenewer;
  #driver: SimulatedDriver;
  #thread = 0;
  #turnedAt: number;
  #lastId = 0;
  readonly #terms = new Map<string, HeldTerm>();
  #cancelWake: () => void = () => undefined;

  constructor(
    private readonly host: RenewerHost,
    private readonly cluster: Cluster,
    private readonly makeDriver: () => SimulatedDriver,
    private readonly maxStallMs: number,
  ) {
    this.#driver = makeDriver();
    this.#core = this.#makeCore();
    this.#turnedAt = host.now().mono;
  }

  start(): void {
    this.#turnedAt = this.host.now().mono;
    this.host.after(TURN_MS, () => this.start());
  }

  hold(name: string, { token, renewals, validSince }: Term, batched: boolean, changed: () => void): void {
    this.#lastId += 1;
    const shared = new SharedTerm();
    const held = {
      id: this.#lastId,
      name,
      term: { token, renewals, validSince },
      batched,
      changed,
      shared,
      heard: undefined,
    };
    this.#terms.set(this.keyOf(name, token), held);
    this.#postTerm(held);
  }

  renewed(name: string, token: bigint): ReturnType<TermRenewer['renewed']> {
    return this.#terms.get(this.keyOf(name, token))?.shared.renewed();
  }

  drop(name: string, token: bigint): void {
    const held = this.#terms.get(this.keyOf(name, token));
    if (held === undefined) return;
    held.shared.drop();
    this.#terms.delete(this.keyOf(name, token));
    this.#post({ type: 'drop', id: held.id });
  }

  heard(name: string, token: bigint): void {
    for (const held of this.#terms.values()) {
      if (held.name === name && token > (held.heard ?? held.term.token)) held.heard = token;
    }
    this.#toThread(() => this.#driver.heard(name, token));
  }

  /** The thread dies, and another one continues. */
  restart(pauseMs = this.cluster.random.skewed(10, 1_000)): void {
    this.cluster.world.count('renewals: thread died');
    this.#thread += 1;
    this.#cancelWake();
    this.host.after(pauseMs, () => {
      this.#thread += 1;
      this.#driver = this.makeDriver();
      this.#core = this.#makeCore();
      for (const held of this.#terms.values()) this.#postTerm(held);
    });
  }

  protected keyOf(name: string, token: bigint): string {
    return `${token} ${name}`;
  }

  /** The number of the last renewal, from which a thread continues. */
  protected lastSent(shared: SharedTerm): number {
    return shared.lastSent;
  }

  #makeCore(): LeaseRenewer {
    const { timing, parts, random } = this.cluster;
    return parts.renewer({ timing, maxStallMs: this.maxStallMs, random: random.next });
  }

  #postTerm({ id, name, term, batched, shared, heard }: HeldTerm): void {
    const renewed = shared.renewed();
    if (renewed === 'superseded') return;
    const { validSince } = renewed ?? term;
    this.#toThread(() => this.#driver.heard(name, term.token));
    this.#post({ type: 'hold', term: { id, validSince, lastRenewal: this.lastSent(shared), batched } });
    if (heard !== undefined) this.#toThread(() => this.#driver.heard(name, heard));
  }

  #post(input: RenewerInput): void {
    this.#toThread(() => this.#step(input));
  }

  /** Messages to a thread arrive in order, some time later, unless it has died. */
  #toThread(run: () => void): void {
    const thread = this.#thread;
    this.host.main.machine.after(1, () => {
      if (this.host.alive && thread === this.#thread) run();
    });
  }

  #step(input: RenewerInput): void {
    const { machine } = this.host.main;
    const changed: number[] = [];
    for (const effect of this.#core.step(input, machine.now(), this.#turnedAt)) {
      const held = 'id' in effect ? this.#heldOf(effect.id) : undefined;
      switch (effect.type) {
        case 'wake': {
          const thread = this.#thread;
          this.#cancelWake();
          this.#cancelWake = machine.after(effect.afterMs, () => {
            if (this.host.alive && thread === this.#thread) this.#step({ type: 'tick' });
          });
          break;
        }
        case 'renewed':
          this.cluster.world.count('renewals: acknowledged');
          if (this.host.main.blocked) this.cluster.world.count('renewals: acknowledged while blocked');
          held?.shared.acknowledged(effect.renewal, effect.validSince);
          changed.push(effect.id);
          break;
        case 'superseded':
          this.cluster.world.count('renewals: superseded');
          held?.shared.supersede();
          changed.push(effect.id);
          break;
        case 'renew':
          this.#renew(effect);
      }
    }
    for (const id of changed) {
      const held = this.#heldOf(id);
      this.cluster.world.after(this.cluster.random.skewed(0.1, 5), () =>
        this.host.main.deliver(() => {
          if (this.host.alive) held?.changed();
        }),
      );
    }
  }

  #renew({ call, renewals }: RenewerEffect & { readonly type: 'renew' }): void {
    const { self, main } = this.host;
    const claim = { holder: self, leaseMs: this.cluster.timing.leaseMs };
    const sent = renewals.flatMap(({ id, renewal }) => {
      const held = this.#heldOf(id);
      if (held === undefined) return [];
      held.shared.sending(renewal);
      return [{ id, call: this.#driver.renew(held.name, claim, held.term.token, BigInt(renewal)) }];
    });
    const thread = this.#thread;
    this.cluster.connection.call(
      main.machine,
      this.#driver.call(() => sent.map((one) => one.call.effect())),
      (outcome) => {
        if (!this.host.alive || thread !== this.#thread) return;
        const answers = outcome.type === 'done' ? outcome.result : undefined;
        if (answers === 'replaced') this.#driver.replaced();
        const results = renewals.map(({ id }) => {
          const index = sent.findIndex((one) => one.id === id);
          const answer = answers === 'replaced' ? undefined : answers?.[index];
          return answer && sent[index]?.call.result(answer);
        });
        this.#step({ type: 'answered', call, results });
      },
    );
  }

  /** Undefined for a term that the main thread has dropped. */
  #heldOf(id: number): HeldTerm | undefined {
    for (const held of this.#terms.values()) if (held.id === id) return held;
    return undefined;
  }
}
