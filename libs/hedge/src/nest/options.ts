import type { CanActivate, ExceptionFilter, NestInterceptor, PipeTransform } from '@nestjs/common';
import type { BackendFactory } from '../database/backend.js';
import type { Timing, TimingPreset } from '../common/timing.js';
import type { Serializer } from '../messaging/serializer.js';
import type { HedgeMode, PodSettings } from '../pod/settings.js';
import type { Size } from '../spill/service/spill-create-options.js';
import type { OptionalLabel } from '../telemetry/definitions.js';
import type { TlsOptions } from '../transport/grpc/credentials.js';

/** Enhancers of every handler. They run before those of its class and method, like Nest's global enhancers. */
export interface HandlerEnhancers {
  readonly guards?: readonly CanActivate[];
  readonly pipes?: readonly PipeTransform[];
  readonly interceptors?: readonly NestInterceptor[];
  readonly filters?: readonly ExceptionFilter[];
}

/** Bounds of memory. Raise a limit if you see its error and the pod has the memory. */
export interface HedgeLimits {
  /** Largest payload with its envelope, in bytes. Beyond it: PAYLOAD_TOO_LARGE. Default: 4 MiB. The same on all pods. */
  readonly maxMessageBytes?: number;
  /**
   * Bytes that wait for one slow peer, or for one stream's Observable. Beyond it: OVERLOADED. At least twice
   * `maxMessageBytes`. Default: 16 MiB, or twice `maxMessageBytes` if that is more.
   */
  readonly maxQueuedBytes?: number;
  /**
   * Handlers that run at once on this pod. Beyond it: OVERLOADED. Puts, renewals and releases have slots of their own;
   * callers that wait for permits have half as many. Default: 10,000.
   */
  readonly maxRunning?: number;
  /**
   * Handlers of one topic that run at once on this pod, fewer while other topics hold slots. Beyond it: OVERLOADED. So a
   * handler that never returns leaves slots for other topics. Set it to `maxRunning` for no limit per topic. Default:
   * half of `maxRunning`.
   */
  readonly maxRunningPerTopic?: number;
}

/** Time limits of a stop. Keep both below the pod's `terminationGracePeriodSeconds` (30 s in Kubernetes). */
export interface HedgeShutdown {
  /**
   * Milliseconds that running handlers and `@WhileLeader` tasks get to end after the stop began. Meanwhile the pod renews
   * the lease. Higher: less work is cut short. Lower: a hung handler delays the hand-over less. Default: 5,000.
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
  /** RAM, frames in flight included; at least 4 MB. Allocated when needed. Default: '64MB'. */
  readonly memory?: Size;
  /** Disk. Default: 0, which writes no frame to disk. */
  readonly disk?: Size;
  /** The folder of the files, such as the mount of an emptyDir; no symbolic link. Default: `hedge-spill` in the system's temporary folder. */
  readonly directory?: string;
  /** Hedge writes no frame that would leave less free space on the file system. Default: '256MB'. */
  readonly minFreeDisk?: Size;
}

/** How `KvStore` uses the log table. */
export interface HedgeKv {
  /**
   * Text before each key in the table; callers do not see it. Set one, such as 'orders/', if several groups use the same
   * tables and should not share keys; set '' if they should. At most 256 bytes; the same on all pods. Default: '', and
   * the leader logs a WARN if another group uses the same keys.
   */
  readonly prefix?: string;
  /**
   * Old versions that the leader deletes; the same on all pods. A version stays for at least ten minutes, and the first ones
   * of a new leader are deleted ten minutes after its election. Default: none, all versions stay.
   */
  readonly retention?: readonly KvRetention[];
}

/**
 * The versions of some keys that the leader deletes in the background. A version is deleted when it meets all given limits,
 * and never the newest one of its key.
 *
 * @example
 * { prefix: 'rates/', versions: 100, tombstonesDays: 7 } // the last 100 of each key; deleted keys vanish after a week
 * { prefix: '', days: 30 } // of all other keys, what is older than 30 days and was replaced
 */
export interface KvRetention {
  /** The keys that begin with it; '' for all. A key belongs to the rule with the longest prefix of it. */
  readonly prefix: string;
  /** The newest versions of each key stay, so many of them: from 1. */
  readonly versions?: number;
  /** Versions stay for so many days; fractions are allowed. */
  readonly days?: number;
  /** A deleted key vanishes with all its versions after so many days. Default: its deletion stays. */
  readonly tombstonesDays?: number;
}

/** The labels of metrics. */
export interface HedgeMetrics {
  /**
   * Adds these labels to the metrics that have them: each topic, name of a lock, or name of a semaphore is then a time
   * series of its own, so leave out those of which the app has many. Default: none.
   */
  readonly labels?: readonly OptionalLabel[];
}

/** The order of pods for the leadership. */
export interface HedgePreferNewest {
  /**
   * The version of this deployment of the app: numbers between dots, such as '1.4.2', '1.5.0-rc.1', or the number of the
   * CI run. Let it rise with each deployment, also with a roll-back. At most 64 characters.
   */
  readonly appVersion: string;
}

/** A preset, or single durations over a preset (`lan` by default). */
export type HedgeTiming = TimingPreset | ({ readonly preset?: TimingPreset } & Partial<Timing>);

/**
 * Options of `HedgeModule.forRoot`. Invalid options fail the start: INVALID_OPTIONS names each invalid option, its value
 * and the fix.
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
  /** The database: `postgres(…)`, `spanner(…)`, `sqlite(…)` or `memory(…)`. The same on all pods of the group. */
  readonly backend: BackendFactory;
  /**
   * `host:port` at which other pods reach this one. With `:port` alone, the host is the value of the variable POD_IP;
   * without it, the first network interface; without one, loopback. The log names the result. Default: `:7400`.
   */
  readonly address?: string;
  /** The role of this pod in the group. Default: `member`. */
  readonly mode?: HedgeMode;
  /**
   * Durations, by preset: `local` (one machine, a lease of 3 s), `lan` (one region, 8 s), `wan` (several regions, 20 s);
   * or single durations over a preset. Shorter: faster fail-over after a crash. Longer: fewer false take-overs when pods
   * or the database stall. The same on all pods of the group. Default: `lan`.
   */
  readonly timing?: HedgeTiming;
  /**
   * The thread that renews the leases of this pod. `main`: the event loop, so a pod that blocks it for longer than a lease
   * loses its leadership and its locks. `worker`: a worker thread with its own connection to the database, which goes on
   * while the event loop is blocked, for `maxStallMs`. Only with a backend that opens its own connections: sqlite, postgres with
   * `connectionString`, spanner with `database`. Default: `main`.
   */
  readonly renewal?: 'main' | 'worker';
  /**
   * With `renewal: 'worker'`: no renewal begins when the event loop has been blocked for this many milliseconds. So a pod
   * that hangs for ever loses its leases after `maxStallMs` and one lease at the latest. At least `timing.leaseMs`. Longer:
   * longer stalls cost nothing; shorter: faster fail-over from a pod that hangs. Default: two leases.
   */
  readonly maxStallMs?: number;
  /**
   * Limit of `send`, `broadcast`, `put`, `get`, the wait for a lock or a permit, and the time until a handler has accepted a
   * stream, in milliseconds, if the call gives none. Keep it above `timing.leaseMs`. Default: 10,000.
   */
  readonly defaultTimeoutMs?: number;
  /**
   * How often a message to the leader may run again after its leader was lost while it may have run (the leader crashed,
   * or was paused for longer than its lease), if the call gives none. After that, `send` rejects with OUTCOME_UNKNOWN. So
   * a message that kills its process kills at most one leader more than this number. 0: never. Default: 1.
   */
  readonly maxReruns?: number;
  /**
   * Moves the leadership to the newest version of the app. The leader hands over when another pod of a newer version has
   * been ready for `timing.heartbeatTimeoutMs`, at most once per version. When the leader stops, it hands over to a ready
   * pod of the newest version. Pods without this option count as the oldest.
   *
   * Default: none. The leader hands over only when it stops, to the ready pod that started last.
   *
   * @example
   * preferNewest: { appVersion: '1.4.2' }
   */
  readonly preferNewest?: HedgePreferNewest;
  /** Encryption of the links. Default: none. The group's secret authenticates peers in any case. */
  readonly tls?: TlsOptions;
  /**
   * The secret by which pods authenticate each other: 16 characters or more, the same on all pods. Default: a random one in
   * a reserved row of the database, so every process that can read the database can join the group. Set it if others can
   * read that database.
   *
   * Give a list while the secret changes: a pod proves itself with the first and accepts each. To rotate without downtime,
   * roll out `[old, new]`, then `[new, old]`, then `new`. In a list, `'stored'` means the secret in the database:
   * `['stored', new]`, then `[new, 'stored']`, then `new`.
   */
  readonly secret?: string | readonly string[];
  /** Converts payloads to bytes. Default: JSON. The same on all pods. */
  readonly serializer?: Serializer;
  /** Guards, pipes, interceptors and filters of all handlers. The app's global enhancers are for HTTP and do not apply. */
  readonly enhancers?: HandlerEnhancers;
  /** Bounds on the memory of messages. */
  readonly limits?: HedgeLimits;
  /** Time limits of a stop. Default: 5 s for running work, 10 s in all. */
  readonly shutdown?: HedgeShutdown;
  /** The RAM and disk that this pod offers for spilled data. Default: 64 MB of RAM and no disk. */
  readonly spill?: HedgeSpill;
  /** How `KvStore` uses the log table. Default: keys as they are. */
  readonly kv?: HedgeKv;
  /** The labels of metrics. Default: no names of topics, locks and semaphores. */
  readonly metrics?: HedgeMetrics;
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
