import { inspect, type InspectOptions } from 'node:util';
import { BaseRpcContext } from '@nestjs/microservices';
import type { MemberId } from '../../common/identity.js';

/** A request or a stream. */
interface Handled {
  readonly requestId: string;
  readonly attempt: number;
  readonly caller: MemberId;
  readonly topic: string;
  readonly signal: AbortSignal;
  readonly epoch: bigint;
}

/**
 * The context of the request or stream that a handler runs. A handler gets it with `@Ctx() ctx: HedgeContext`; guards,
 * interceptors and filters get it with `host.switchToRpc().getContext()`.
 */
export class HedgeContext extends BaseRpcContext<[Handled]> {
  constructor(request: Handled) {
    super([request]);
  }

  /** UUID, the same over all attempts and leaders: the key to make work with outside effects idempotent. */
  get requestId(): string {
    return this.args[0].requestId;
  }

  /** 1 on the first try. Above 1, an earlier leader may have run this request already. */
  get attempt(): number {
    return this.args[0].attempt;
  }

  /** The calling pod. The address of a client is empty. */
  get from(): MemberId {
    return this.args[0].caller;
  }

  /** The topic of the request; '' is the default topic. */
  get topic(): string {
    return this.args[0].topic;
  }

  /**
   * Aborts when the caller cancelled or its deadline passed, for a leader message or stream when the lease is
   * lost, and for a stream when the caller is. A handler that takes long should look at it, or pass it on to what it awaits.
   */
  get signal(): AbortSignal {
    return this.args[0].signal;
  }

  /**
   * The token of the lease this leader message runs under, to fence outside writes with; undefined in a
   * broadcast.
   */
  get fencingToken(): bigint | undefined {
    const { epoch } = this.args[0];
    return epoch === 0n ? undefined : epoch;
  }

  /** The output of `console.log`: the fields of `toJSON`, without the internals of the request. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return `HedgeContext ${inspect(this.toJSON(), options)}`;
  }

  /** The fields for logs, without the signal. The token is a string, because JSON has no BigInt. */
  toJSON(): object {
    const { requestId, attempt, from, topic, fencingToken } = this;
    return { requestId, attempt, from, topic, fencingToken: fencingToken?.toString() };
  }
}
