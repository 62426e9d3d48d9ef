import type { Backend } from '../../database/backend.js';
import type { HeldLease, RenewResult } from '../../database/lease-table.js';
import type { Clock, Instant } from '../../common/clock.js';
import { messageOf } from '../../common/errors.js';
import { databaseCall } from '../database-call.js';
import { LeaseRenewer, type RenewerEffect, type RenewerInput } from './lease-renewer.core.js';
import { Liveness } from './liveness.js';
import { outcomeOf, renewalMargin } from './report-renewal.js';
import type { FromRenewalThread, RenewalThreadData, ToRenewalThread } from './renewal.messages.js';
import { SharedTerm } from './shared-term.js';

export interface RenewalThreadOptions extends Pick<RenewalThreadData, 'timing' | 'maxStallMs' | 'liveness'> {
  readonly backend: Pick<Backend, 'lease' | 'close'>;
  readonly clock: Clock;
  readonly post: (message: FromRenewalThread) => void;
}

interface ThreadTerm {
  readonly lease: HeldLease;
  readonly shared: SharedTerm;
  /** The start of the last acknowledged call. */
  validSince: Instant;
}

/** Performs the effects of a `LeaseRenewer` on the renewal thread. */
export class RenewalThread {
  readonly #renewer: LeaseRenewer;
  readonly #liveness: Liveness;
  readonly #terms = new Map<number, ThreadTerm>();
  #cancelWake: () => void = () => undefined;

  constructor(private readonly options: RenewalThreadOptions) {
    const { timing, maxStallMs, liveness } = options;
    this.#renewer = new LeaseRenewer({ timing, maxStallMs, random: Math.random });
    this.#liveness = new Liveness(liveness);
  }

  receive(message: Exclude<ToRenewalThread, { readonly type: 'end' }>): void {
    const { lease } = this.options.backend;
    switch (message.type) {
      case 'hold': {
        const { name, holder, token, term, memory } = message;
        // So that a lower token in the row shows that the database went back.
        lease.heard?.(name, token, this.options.timing.leaseMs);
        this.#terms.set(term.id, {
          lease: { name, holder, token },
          shared: new SharedTerm(memory),
          validSince: term.validSince,
        });
        return this.#step({ type: 'hold', term });
      }
      case 'drop':
        this.#terms.delete(message.id);
        return this.#step(message);
      case 'heard':
        return lease.heard?.(message.name, message.token, message.leaseMs);
    }
  }

  async close(): Promise<void> {
    this.#cancelWake();
    this.#terms.clear();
    await this.options.backend.close();
  }

  #step(input: RenewerInput): void {
    const effects = this.#renewer.step(input, this.options.clock.now(), this.#liveness.turnedAt);
    for (const effect of effects) this.#perform(effect);
    const ids = effects.flatMap((effect) => ('id' in effect ? [effect.id] : []));
    if (ids.length > 0) this.options.post({ type: 'changed', ids });
  }

  #perform(effect: RenewerEffect): void {
    switch (effect.type) {
      case 'wake':
        this.#cancelWake();
        this.#cancelWake = this.options.clock.after(effect.afterMs, () => this.#step({ type: 'tick' }));
        return;
      case 'renewed': {
        const held = this.#terms.get(effect.id);
        if (held !== undefined) held.validSince = effect.validSince;
        return held?.shared.acknowledged(effect.renewal, effect.validSince);
      }
      case 'superseded':
        return this.#terms.get(effect.id)?.shared.supersede();
      case 'renew':
        return void this.#renew(effect);
    }
  }

  async #renew({ call, renewals, batched }: RenewerEffect & { readonly type: 'renew' }): Promise<void> {
    const { backend, clock, timing } = this.options;
    const { leaseMs, backendTimeoutMs } = timing;
    // The main thread may have dropped a term whose message waits in the queue of this thread.
    const sent = renewals.flatMap(({ id, renewal }) => {
      const held = this.#terms.get(id);
      if (held === undefined || held.shared.dropped) return [];
      held.shared.sending(renewal);
      return [{ id, lease: { ...held.lease, leaseMs, renewals: BigInt(renewal) } }];
    });
    const [first] = sent;
    const start = clock.now();
    const results = new Map<number, RenewResult>();
    try {
      const answers = await databaseCall(clock, backendTimeoutMs, async () =>
        batched || first === undefined
          ? backend.lease.renewAll(sent.map(({ lease }) => lease))
          : [await backend.lease.renew(first.lease)],
      );
      for (const [index, { id }] of sent.entries()) results.set(id, answers[index]!);
    } catch (error) {
      this.options.post({ type: 'failed', ids: sent.map(({ id }) => id), message: messageOf(error) });
    }
    if (first !== undefined)
      this.#measured(
        batched,
        start,
        sent.map(({ id }) => ({ id, result: results.get(id) })),
      );
    this.#step({ type: 'answered', call, results: renewals.map(({ id }) => results.get(id)) });
  }

  /** To call before the answers are handled, which change `validSince`. */
  #measured(
    batched: boolean,
    start: Instant,
    answers: readonly { readonly id: number; readonly result: RenewResult | undefined }[],
  ): void {
    const { clock, timing, post } = this.options;
    const now = clock.now();
    const margins = answers.flatMap(({ id, result }) => {
      const held = this.#terms.get(id);
      return held !== undefined && result?.renewed === true ? [renewalMargin(timing, held.validSince, now)] : [];
    });
    const outcome = outcomeOf(answers.map(({ result }) => result));
    const lease = batched ? 'locks' : 'leader';
    post({ type: 'measured', renewal: { lease, ms: now.mono - start.mono, outcome, margins } });
  }
}
