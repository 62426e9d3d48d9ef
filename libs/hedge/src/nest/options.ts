import type { CanActivate, ExceptionFilter, NestInterceptor, PipeTransform } from '@nestjs/common';
import type { BackendFactory } from '../database/backend.js';
import type { Timing, TimingPreset } from '../common/timing.js';
import type { Serializer } from '../messaging/serializer.js';
import type { HedgeMode, PodSettings } from '../pod/settings.js';
import type { Size } from '../spill/service/spill-create-options.js';
import type { TlsOptions } from '../transport/grpc/credentials.js';

/** Applied to every handler, before those of its class and method, as Nest's own global ones are. */
export interface HandlerEnhancers {
  readonly guards?: readonly CanActivate[];
  readonly pipes?: readonly PipeTransform[];
  readonly interceptors?: readonly NestInterceptor[];
  readonly filters?: readonly ExceptionFilter[];
}

/** Bounds of memory. Raise one when its error is seen under a load that the pod has the memory for. */
export interface HedgeLimits {
  /** Largest payload with its envelope, in bytes: above it PAYLOAD_TOO_LARGE. Default: 4 MiB. Same on all pods. */
  readonly maxMessageBytes?: number;
  /**
   * Bytes queued for one link that reads too slowly, or of a stream's Observable that goes on: above it OVERLOADED. At least twice `maxMessageBytes`.
   * Default: 16 MiB, or twice `maxMessageBytes` if that is more.
   */
  readonly maxQueuedBytes?: number;
  /**
   * Handlers running at once on this pod: above it OVERLOADED. Puts, renewals and releases have slots of their own, and
   * so have callers that wait for permits, half as many. Default: 10,000.
   */
  readonly maxRunning?: number;
  /**
   * Handlers of one topic running at once on this pod: above it OVERLOADED, so that a handler that never returns leaves
   * slots for other topics. The full number while no other topic runs; less when others hold slots. Set it to
   * `maxRunning` for no limit per topic. Default: half of `maxRunning`.
   */
  readonly maxRunningPerTopic?: number;
}

/** Time limits of a stop. Keep both below the pod's `terminationGracePeriodSeconds` (30 s in Kubernetes). */
export interface HedgeShutdown {
  /**
   * Milliseconds that handlers and `@WhileLeader` tasks get to end after the stop began; the lease is held
   * and renewed meanwhile. Default: 5,000. Longer: less work is cut short; shorter: a hung handler delays
   * the hand-over less.
   */
  readonly drainMs?: number;
  /** The time limit of the whole stop in milliseconds. After it, the stop waits for no step. Default: `drainMs` + 5,000. */
  readonly totalMs?: number;
}

/**
 * The RAM and disk that this pod offers for spilled data, its own and that of other pods. Sizes are bytes, or texts such
 * as '512MB'.
 */
export interface HedgeSpill {
  /** RAM, with frames in flight; at least 4 MB. Allocated when it is needed. Default: '64MB'. */
  readonly memory?: Size;
  /** Disk. Default: 0, no frame is written to disk. */
  readonly disk?: Size;
  /** The folder of the files, such as the mount of an emptyDir; no symbolic link. Default: `hedge-spill` in the system's temporary folder. */
  readonly directory?: string;
  /** The floor of free disk: no frame is written that would leave less. Default: '256MB'. */
  readonly minFreeDisk?: Size;
}

/** How `KvStore` uses the log table. */
export interface HedgeKv {
  /**
   * What each key begins with in the table; callers do not see it. Set one, as 'orders/', when several groups use the
   * same tables and should not share keys; '' when they should. At most 256 bytes; the same on all pods. Default: '', and
   * the leader warns when another group uses the same keys.
   */
  readonly prefix?: string;
}

/** One of the presets, or single durations over a preset (`lan` when none is named). */
export type HedgeTiming = TimingPreset | ({ readonly preset?: TimingPreset } & Partial<Timing>);

/**
 * Options of `HedgeModule.forRoot`. Checked at start, all at once: INVALID_OPTIONS names each wrong option,
 * its value and the fix.
 *
 * @example
 * HedgeModule.forRoot({ group: 'orders', address: ':7400', backend: sqlite({ file: '/data/hedge.db' }) })
 */
export interface HedgeOptions {
  /**
   * The pods that share one leader: 1 to 128 visible characters. One group per app; the same on all its
   * pods, and different from other apps on the same tables. Groups on the same tables share `KvStore` keys unless
   * `kv.prefix` is set.
   */
  readonly group: string;
  /** The database that arbitrates: `sqlite(…)`, `spanner(…)` or `memory(…)`. The same for all pods of the group. */
  readonly backend: BackendFactory;
  /**
   * Where other pods reach this one: `host:port`, or `:port` to take the host from the variable POD_IP, else
   * the first non-internal network interface, else loopback (the log says which). Default: `:7400`.
   */
  readonly address?: string;
  /** The role of this pod in the group. Default: `member`. */
  readonly mode?: HedgeMode;
  /**
   * Durations, by preset: `local` (one machine, 3 s lease), `lan` (one region, 8 s), `wan` (several regions,
   * 20 s), or single ones over a preset. Default: `lan`. Shorter: faster fail-over after a crash; longer:
   * fewer false alarms when pods or the database stall. The same on all pods of the group.
   */
  readonly timing?: HedgeTiming;
  /**
   * Milliseconds that `send`, `broadcast` and `put` may take when the call does not say, and that a stream may take
   * until a handler has accepted it. Keep it above `timing.leaseMs`. Default: 10,000.
   */
  readonly defaultTimeoutMs?: number;
  /**
   * How often a message to the leader may run again after a leader was lost while it may have run there (it crashed, or
   * stood still for longer than its lease), when the call does not say. Then `send` rejects with OUTCOME_UNKNOWN. So a
   * message that ends the process that runs it ends at most one leader more than this. 0: never run again. Default: 1.
   */
  readonly maxReruns?: number;
  /** Encryption of the links. Default: none; peers are authenticated by the group's secret all the same. */
  readonly tls?: TlsOptions;
  /**
   * The secret by which pods authenticate each other: 16 characters or more, the same on all pods. Default: random, kept in a
   * reserved row of the backend, so that every process that can read the database can join the group. Set it when others
   * can read that database.
   *
   * A list while the secret changes: a pod proves itself by the first and accepts each. To rotate without downtime, roll out
   * `[old, new]`, then `[new, old]`, then `new`. In it, `'stored'` stands for the secret in the backend: `['stored', new]`,
   * `[new, 'stored']`, `new` moves a running group away from that one.
   */
  readonly secret?: string | readonly string[];
  /** Converts payloads to bytes. Default: JSON. The same on all pods. */
  readonly serializer?: Serializer;
  /** Guards, pipes, interceptors and filters of all handlers. The app's global ones are for HTTP and do not apply. */
  readonly enhancers?: HandlerEnhancers;
  /** What messages may cost in memory, each with a default of its own. */
  readonly limits?: HedgeLimits;
  /** How long a stop may take. Default: 5 s for running work, 10 s in all. */
  readonly shutdown?: HedgeShutdown;
  /** The RAM and disk that this pod offers for spilled data. Default: 64 MB of RAM and no disk. */
  readonly spill?: HedgeSpill;
  /** How `KvStore` uses the log table. Default: keys as they are. */
  readonly kv?: HedgeKv;
}

/** For `forRootAsync({ useClass })` and `useExisting`. */
export interface HedgeOptionsFactory {
  createHedgeOptions(): HedgeOptions | Promise<HedgeOptions>;
}

export const HEDGE_SETTINGS = Symbol('nestjs-hedge:settings');

/** The options of the app, checked, with every default filled in. */
export interface HedgeSettings extends PodSettings {
  readonly enhancers: HandlerEnhancers;
}
