import type { Timing } from '../common/timing.js';
import type { Hidden } from '../common/validation/hidden.js';
import type { BackendFactory, WorkerBackend } from '../database/backend.js';
import type { RetentionLimits, RetentionRule } from '../kv/retention/retention.core.js';
import type { Serializer } from '../messaging/serializer.js';
import type { OptionalLabel } from '../telemetry/definitions.js';
import type { TlsOptions } from '../transport/grpc/credentials.js';

/**
 * The role of this pod in the group:
 * - `member`: the pod listens, can be elected, runs handlers and is in the view.
 * - `client`: the pod dials the members and uses all services. It never campaigns, has no port and runs no handlers. For
 *   scripts built on `NestFactory.createApplicationContext`.
 * - `off`: the pod opens nothing, and every call fails at once. For tools that only build the app, such as a generator
 *   of an OpenAPI file.
 */
export type HedgeMode = 'member' | 'client' | 'off';

/** The validated options of a pod, with all defaults. `HedgeOptions` documents each option. */
export interface PodSettings {
  readonly group: string;
  readonly backend: BackendFactory;
  readonly address: string;
  readonly mode: HedgeMode;
  readonly timing: Timing;
  /** Renewals by a worker thread; undefined for renewals by the event loop. */
  readonly renewal: { readonly backend: WorkerBackend; readonly maxStallMs: number } | undefined;
  readonly defaultTimeoutMs: number;
  readonly maxReruns: number;
  /** `preferNewest.appVersion`. */
  readonly appVersion: string | undefined;
  readonly tls: Hidden<TlsOptions | undefined>;
  /** At least one secret. This pod authenticates with the first one. `'stored'` stands for the secret in the database. */
  readonly secret: Hidden<readonly string[]>;
  readonly serializer: Serializer | undefined;
  readonly limits: {
    readonly maxMessageBytes: number;
    readonly maxQueuedBytes: number;
    readonly maxRunning: number;
    readonly maxRunningPerTopic: number;
  };
  readonly shutdown: { readonly drainMs: number; readonly totalMs: number };
  readonly kv: {
    readonly prefix: string;
    readonly prefixChosen: boolean;
    /** With prefixes as callers see them. */
    readonly retention: readonly RetentionRule[];
    /** For tests. Default: `DEFAULT_RETENTION_LIMITS`. */
    readonly retentionLimits?: RetentionLimits;
  };
  readonly metrics: { readonly labels: readonly OptionalLabel[] };
  /** In bytes. */
  readonly spill: {
    readonly memory: number;
    readonly disk: number;
    readonly directory: string;
    readonly minFreeDisk: number;
  };
}

/** Warns of a default timeout that is too short for the take-over after a crash of the leader. */
export function timeoutWarning({ defaultTimeoutMs, timing: { leaseMs } }: PodSettings): string | undefined {
  if (defaultTimeoutMs > leaseMs) return undefined;
  return `\`defaultTimeoutMs\` is ${defaultTimeoutMs}, but \`timing.leaseMs\` is ${leaseMs}: after a crash of the leader there is no leader for about that long, so calls that give no \`timeoutMs\` fail. Set \`defaultTimeoutMs\` above \`timing.leaseMs\``;
}
