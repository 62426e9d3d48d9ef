import type { MembershipRunner } from '../membership/membership.runner.js';
import type { Clock } from '../common/clock.js';
import type { StartGate } from '../common/async/start-gate.js';
import type { Messenger } from '../messaging/messenger.js';
import { SpillNode } from '../spill/node/spill-node.js';
import { SpillRuntime } from '../spill/service/spill-runtime.js';
import type { StreamTransport } from '../transport/streams/peer-stream.js';
import type { PodSettings } from './settings.js';

export interface SpillParts {
  readonly gate: StartGate;
  readonly streams: StreamTransport;
  readonly messenger: Messenger;
  readonly views: MembershipRunner;
  readonly clock: Clock;
  readonly logger: { warn(message: string): void };
  readonly settings: PodSettings;
}

/** The spill stores of this pod, with the RAM and disk that its options offer. */
export function makeSpill({ settings, clock, ...parts }: SpillParts): SpillRuntime {
  const { timing, spill } = settings;
  return new SpillRuntime({ ...parts, clock, timing, openNode: () => SpillNode.open({ ...spill, clock }) });
}
