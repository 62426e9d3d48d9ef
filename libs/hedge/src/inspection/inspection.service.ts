import type { StartGate } from '../common/async/start-gate.js';
import { atCaller, HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { checkKeys } from '../common/validation/check-keys.js';
import { checkCallOptions } from '../messaging/call-options.js';
import { bytesPayload, NO_PAYLOAD, type Encoded } from '../messaging/message.js';
import type { Messenger } from '../messaging/messenger.js';
import type { RequestType } from '../messaging/request-type.js';
import { RequestKind } from '../wire/hedge/v1/link.js';
import type { PodState } from './pod-state.js';

/** Its slots are its own, so that a pod whose handlers are all busy can be inspected. */
export const INSPECT: RequestType = {
  kind: RequestKind.REQUEST_KIND_INSPECT,
  name: 'inspect',
  runsAt: 'member',
  duringDrain: 'accepted',
  slots: 'inspections',
  mayUseReserve: false,
};

export interface InspectionOptions {
  /** Milliseconds until DEADLINE_EXCEEDED. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /** Stops waiting: the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

const OPTIONS = Object.keys({ timeoutMs: 0, signal: 0 } satisfies Record<keyof InspectionOptions, 0>);

export interface InspectionServiceDeps {
  readonly gate: StartGate;
  readonly messenger: Messenger;
  /** Reads the state of this pod. Local and synchronous. */
  readonly read: () => PodState;
  readonly defaultTimeoutMs: number;
}

/**
 * The state of the pods of the group, for people and tools: the command line, an admin page, a support ticket. Reading
 * it changes nothing, and asks no database. Do not base decisions of the app on it: it is old when it arrives.
 *
 * @example
 * const states = await Promise.all(cluster.members().map((member) => inspection.stateOf(member)));
 */
export class InspectionService {
  constructor(private readonly deps: InspectionServiceDeps) {
    deps.messenger.serve(INSPECT, async () => bytesPayload(Buffer.from(JSON.stringify(this.state()))));
  }

  /** The state of this pod. */
  state(): PodState {
    return this.deps.read();
  }

  /**
   * Asks a member for its state.
   * @param member of `ClusterService.members()`.
   * @throws HedgeError MEMBER_UNREACHABLE, DEADLINE_EXCEEDED, SHUTTING_DOWN; NO_HANDLER or NOT_LEADER when the member
   *   runs a version without inspection; INVALID_ARGUMENT; the signal's reason.
   */
  async stateOf(member: MemberId, options: InspectionOptions = {}): Promise<PodState> {
    const { gate, messenger, defaultTimeoutMs } = this.deps;
    const { address, incarnation } = member;
    checkKeys(`The options of the inspection of ${address}`, options, OPTIONS);
    const { timeoutMs = defaultTimeoutMs, signal } = options;
    checkCallOptions('inspection of', address, timeoutMs, signal);
    const wait = gate.pass(`inspection of ${address}`);
    if (wait !== undefined) await wait;
    const to = { address, incarnation };
    const name = 'inspection';
    let reply: Encoded;
    try {
      reply = await messenger.request({ to, type: INSPECT, topic: '', name, payload: NO_PAYLOAD, timeoutMs, signal });
    } catch (error) {
      throw atCaller(error, signal);
    }
    return decoded(reply, address);
  }
}

function decoded({ bytes }: Encoded, address: string): PodState {
  try {
    return JSON.parse(Buffer.from(bytes).toString()) as PodState;
  } catch (cause) {
    throw new HedgeError(
      'CONFLICT',
      `The state of ${address} cannot be read: it is not JSON. Run one version of nestjs-hedge on all pods.`,
      { cause },
    );
  }
}
