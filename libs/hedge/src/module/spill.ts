import type { ViewKeeper } from '../cluster/view-keeper.js';
import type { Clock } from '../common/clock.js';
import type { StartGate } from '../common/start-gate.js';
import type { Messenger } from '../messaging/messenger.js';
import { SpillNode } from '../spill/node/spill-node.js';
import { SpillRuntime } from '../spill/service/spill-runtime.js';
import type { StreamTransport } from '../transport/peer-stream.js';
import type { HedgeSettings } from './options.js';

export interface SpillParts {
  readonly gate: StartGate;
  readonly streams: StreamTransport;
  readonly messenger: Messenger;
  readonly views: ViewKeeper;
  readonly clock: Clock;
  readonly logger: { warn(message: string): void };
  readonly settings: HedgeSettings;
}

/** This pod's part in spill stores, with what it lends by its options. */
export function makeSpill({ settings, clock, ...parts }: SpillParts): SpillRuntime {
  const { timing, spill } = settings;
  return new SpillRuntime({ ...parts, clock, timing, openNode: () => SpillNode.open({ ...spill, clock }) });
}
