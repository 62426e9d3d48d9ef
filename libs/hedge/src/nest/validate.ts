import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MAX_TIMER_MS } from '../common/clock.js';
import { HedgeError, messageOf } from '../common/errors.js';
import { Hidden } from '../common/validation/hidden.js';
import { shown } from '../common/validation/shown.js';
import { TIMING_PRESETS } from '../common/timing.js';
import type { Timing } from '../common/timing.js';
import { unknownOption } from '../common/validation/unknown-option.js';
import { DEFAULT_MESSAGING_LIMITS } from '../messaging/limits.js';
import { isReservedKey } from '../database/row-names.js';
import { MIN_MEMORY } from '../spill/node/spill-node.js';
import { bytesOf } from '../spill/service/spill-create-options.js';
import { isAppVersion } from '../membership/succession.js';
import { resolveAddress } from '../transport/address.js';
import { DEFAULT_MAX_QUEUED_BYTES } from '../transport/links/link-transport.js';
import { STORED_SECRET } from '../pod/group-secret.js';
import { OPTIONAL_LABELS } from '../telemetry/definitions.js';
import type { HedgeLimits, HedgeOptions, HedgeSettings, HedgeTiming } from './options.js';

const DEFAULT_ADDRESS = ':7400';
/** Each rerun may cost one more leader. */
const DEFAULT_MAX_RERUNS = 1;
const DEFAULT_DRAIN_MS = 5_000;
const MIN_SECRET_LENGTH = 16;
const KIB = 1024;
const MIB = 1024 * KIB;

/** Returns the fix for an invalid value; undefined for a valid one. */
type Check = (value: unknown) => string | undefined;
type Shape = Readonly<Record<string, Check>>;

/**
 * Checks the options and fills in the defaults.
 * @throws HedgeError INVALID_OPTIONS with every problem; `details.problems` lists them.
 */
export function resolveOptions(options: HedgeOptions): HedgeSettings {
  const problems = shapeProblems('', OPTIONS, options);
  if (problems.length === 0) {
    problems.push(
      ...timingProblems(timingOf(options.timing)),
      ...shutdownProblems(options),
      ...limitProblems(options),
      ...addressProblems(options),
      ...renewalProblems(options),
    );
  }
  if (problems.length > 0) {
    throw new HedgeError('INVALID_OPTIONS', `HedgeModule cannot start:\n${problems.map((p) => `- ${p}`).join('\n')}`, {
      details: { problems },
    });
  }
  const drainMs = options.shutdown?.drainMs ?? DEFAULT_DRAIN_MS;
  return {
    group: options.group,
    backend: options.backend,
    address: options.address ?? DEFAULT_ADDRESS,
    mode: options.mode ?? 'member',
    timing: timingOf(options.timing),
    renewal: renewalOf(options),
    defaultTimeoutMs: options.defaultTimeoutMs ?? 10_000,
    maxReruns: options.maxReruns ?? DEFAULT_MAX_RERUNS,
    appVersion: options.preferNewest?.appVersion,
    tls: new Hidden(options.tls),
    secret: new Hidden([options.secret ?? STORED_SECRET].flat()),
    serializer: options.serializer,
    enhancers: options.enhancers ?? {},
    limits: limitsOf(options),
    shutdown: { drainMs, totalMs: options.shutdown?.totalMs ?? drainMs + 5_000 },
    spill: spillOf(options),
    metrics: { labels: options.metrics?.labels ?? [] },
    kv: {
      prefix: options.kv?.prefix ?? '',
      prefixChosen: options.kv?.prefix !== undefined,
      retention: options.kv?.retention ?? [],
    },
  };
}

function timingOf(timing: HedgeTiming = 'lan'): Timing {
  if (typeof timing === 'string') return TIMING_PRESETS[timing];
  const { preset = 'lan', ...durations } = timing;
  const given = Object.entries(durations).filter(([, value]) => value !== undefined);
  return { ...TIMING_PRESETS[preset], ...Object.fromEntries(given) };
}

function renewalOf({ renewal, maxStallMs, backend, timing, mode }: HedgeOptions): HedgeSettings['renewal'] {
  if (renewal !== 'worker' || mode === 'off' || backend.forWorker === undefined) return undefined;
  return { backend: backend.forWorker(), maxStallMs: maxStallMs ?? 2 * timingOf(timing).leaseMs };
}

function limitsOf({ limits = {} }: HedgeOptions): Required<HedgeLimits> {
  const { maxMessageBytes = DEFAULT_MESSAGING_LIMITS.maxMessageBytes } = limits;
  const { maxRunning = DEFAULT_MESSAGING_LIMITS.maxRunning } = limits;
  return {
    maxMessageBytes,
    maxQueuedBytes: limits.maxQueuedBytes ?? Math.max(DEFAULT_MAX_QUEUED_BYTES, 2 * maxMessageBytes),
    maxRunning,
    maxRunningPerTopic: limits.maxRunningPerTopic ?? Math.ceil(maxRunning / 2),
  };
}

function spillOf({ spill = {} }: HedgeOptions): HedgeSettings['spill'] {
  const { memory = '64MB', disk = 0, directory = join(tmpdir(), 'hedge-spill'), minFreeDisk = '256MB' } = spill;
  return {
    memory: bytesOf(memory) as number,
    disk: bytesOf(disk) as number,
    directory,
    minFreeDisk: bytesOf(minFreeDisk) as number,
  };
}

/** The relations that `Timing` documents. */
function* timingProblems(timing: Timing): Generator<string> {
  const { leaseMs, marginMs, renewDeadlineMs, retryMs, backendTimeoutMs, heartbeatMs, heartbeatTimeoutMs } = timing;
  if (renewDeadlineMs >= leaseMs - marginMs) {
    yield `timing.renewDeadlineMs is ${renewDeadlineMs}, but must be below timing.leaseMs − timing.marginMs (${leaseMs} − ${marginMs} = ${leaseMs - marginMs}), or the holder would still try when its lease has ended. Lower it, or raise timing.leaseMs.`;
  }
  if (backendTimeoutMs >= renewDeadlineMs) {
    yield `timing.backendTimeoutMs is ${backendTimeoutMs}, but must be below timing.renewDeadlineMs (${renewDeadlineMs}), or one slow call to the database would cost the lease. Lower it.`;
  }
  if (retryMs >= renewDeadlineMs) {
    yield `timing.retryMs is ${retryMs}, but must be below timing.renewDeadlineMs (${renewDeadlineMs}), or a failed renewal would not be tried again. Lower it.`;
  }
  if (heartbeatMs * 2 > heartbeatTimeoutMs) {
    yield `timing.heartbeatTimeoutMs is ${heartbeatTimeoutMs}, but must be at least twice timing.heartbeatMs (${heartbeatMs}), or one lost heartbeat would cost a member its place. Raise it, or lower timing.heartbeatMs.`;
  }
}

function* renewalProblems({ renewal, maxStallMs, backend, timing }: HedgeOptions): Generator<string> {
  if (renewal !== 'worker') {
    if (maxStallMs !== undefined) {
      yield `maxStallMs is ${maxStallMs}, but has no effect without renewal: 'worker'. Set renewal: 'worker', or remove maxStallMs.`;
    }
    return;
  }
  const { leaseMs } = timingOf(timing);
  if (maxStallMs !== undefined && maxStallMs < leaseMs) {
    yield `maxStallMs is ${maxStallMs}, but must be at least timing.leaseMs (${leaseMs}), because a lease outlives a shorter stall without a renewal. Raise it, or remove it: the default is two leases.`;
  }
  if (backend.forWorker === undefined) {
    yield "renewal is 'worker', but a worker thread cannot open this backend: it has no forWorker(). Use sqlite, postgres or spanner, or remove renewal.";
    return;
  }
  try {
    structuredClone(backend.forWorker());
  } catch (error) {
    yield error instanceof HedgeError
      ? error.message
      : `renewal is 'worker', but the options of the backend cannot be copied to a worker thread: ${messageOf(error)}. Give plain values, or remove renewal.`;
  }
}

/** An address that no pod could dial, from the options or from the environment. */
function* addressProblems({ mode = 'member', address = DEFAULT_ADDRESS }: HedgeOptions): Generator<string> {
  if (mode !== 'member') return;
  try {
    resolveAddress(address);
  } catch (error) {
    yield messageOf(error);
  }
}

function* shutdownProblems({ shutdown = {} }: HedgeOptions): Generator<string> {
  const { drainMs = DEFAULT_DRAIN_MS, totalMs } = shutdown;
  if (totalMs !== undefined && totalMs <= drainMs) {
    yield `shutdown.totalMs is ${totalMs}, but must be above shutdown.drainMs (${drainMs}), which it includes. Raise it.`;
  }
}

function* limitProblems(options: HedgeOptions): Generator<string> {
  const { maxMessageBytes, maxQueuedBytes, maxRunning, maxRunningPerTopic } = limitsOf(options);
  if (maxQueuedBytes < 2 * maxMessageBytes) {
    yield `limits.maxQueuedBytes is ${maxQueuedBytes}, but must be at least twice limits.maxMessageBytes (${maxMessageBytes}), or the largest message would never fit into the queue of a link. Raise it, or lower limits.maxMessageBytes.`;
  }
  if (maxRunningPerTopic > maxRunning) {
    yield `limits.maxRunningPerTopic is ${maxRunningPerTopic}, but must be at most limits.maxRunning (${maxRunning}), of which it is a part. Lower it, or raise limits.maxRunning.`;
  }
}

const text: Check = (value) =>
  typeof value === 'string' && value !== '' ? undefined : 'give a string that is not empty';

function integer(min: number, max: number, unit: string): Check {
  return (value) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `give a whole number of ${unit} from ${min} to ${max}`;
}

function oneOf(...choices: string[]): Check {
  return (value) =>
    choices.includes(value as string) ? undefined : `give one of ${choices.map((choice) => `'${choice}'`).join(', ')}`;
}

function method(name: string, make: string): Check {
  return (value) => (hasMethod(value, name) ? undefined : `give ${make}`);
}

function listOf(name: string, what: string): Check {
  return (value) =>
    Array.isArray(value) && value.every((item) => hasMethod(item, name))
      ? undefined
      : `give an array of ${what} instances (objects with ${name}()); a class with dependencies comes through forRootAsync({ inject })`;
}

const pem: Check = (value) =>
  (typeof value === 'string' || Buffer.isBuffer(value)) && value.toString('latin1').includes('-----BEGIN ')
    ? undefined
    : 'give the PEM text itself, as a string or Buffer, not a file name';

const milliseconds = integer(1, MAX_TIMER_MS, 'milliseconds');

function size(least: number): Check {
  return (value) =>
    (bytesOf(value) ?? -1) >= least
      ? undefined
      : `give bytes, or a text such as '512MB'${least === 0 ? '' : `, of at least ${least / MIB} MB`}`;
}

const TIMING: Shape = {
  preset: oneOf(...Object.keys(TIMING_PRESETS)),
  leaseMs: milliseconds,
  marginMs: milliseconds,
  renewDeadlineMs: milliseconds,
  retryMs: milliseconds,
  backendTimeoutMs: milliseconds,
  heartbeatMs: milliseconds,
  heartbeatTimeoutMs: milliseconds,
} satisfies Record<keyof Timing | 'preset', Check>;

const ENHANCERS: Shape = {
  guards: listOf('canActivate', 'guard'),
  pipes: listOf('transform', 'pipe'),
  interceptors: listOf('intercept', 'interceptor'),
  filters: listOf('catch', 'filter'),
};

const TLS: Shape = {
  ca: pem,
  cert: pem,
  key: pem,
  serverName: text,
  requireClientCertificate: (value) => (typeof value === 'boolean' ? undefined : 'give true or false'),
};

const LIMITS: Shape = {
  maxMessageBytes: integer(64 * KIB, 1024 * MIB, 'bytes'),
  maxQueuedBytes: integer(64 * KIB, 4 * 1024 * MIB, 'bytes'),
  maxRunning: integer(1, 10_000_000, 'handlers'),
  maxRunningPerTopic: integer(1, 10_000_000, 'handlers'),
};

const SPILL: Shape = { memory: size(MIN_MEMORY), disk: size(0), directory: text, minFreeDisk: size(0) };

const KV: Shape = {
  prefix: (value) =>
    typeof value === 'string' && /^[^\p{C}]*$/u.test(value) && Buffer.byteLength(value) <= 256 && !isReservedKey(value)
      ? undefined
      : "give visible characters, as 'orders/': at most 256 bytes, not beginning with __hedge/ or __caller=",
  retention: (value) =>
    Array.isArray(value) &&
    value.every(isRetention) &&
    new Set(value.map((rule) => (rule as { prefix: string }).prefix)).size === value.length
      ? undefined
      : "give an array as [{ prefix: 'rates/', versions: 100, days: 30, tombstonesDays: 7 }]: each prefix once, versions from 1, days from 0, and at least one limit in each",
};

const days: Check = (value) =>
  typeof value === 'number' && value >= 0 && value <= 36_500 ? undefined : 'give days from 0 to 36500';

const RETENTION_LIMITS: Shape = {
  versions: integer(1, Number.MAX_SAFE_INTEGER, 'versions'),
  days,
  tombstonesDays: days,
};

function isRetention(value: unknown): boolean {
  if (!isObject(value) || KV['prefix']?.(value['prefix']) !== undefined) return false;
  const limits = Object.entries(value).filter(([name, limit]) => name !== 'prefix' && limit !== undefined);
  return (
    limits.length > 0 &&
    limits.every(
      ([name, limit]) => Object.hasOwn(RETENTION_LIMITS, name) && RETENTION_LIMITS[name]?.(limit) === undefined,
    )
  );
}

const METRICS: Shape = {
  labels: (value) =>
    Array.isArray(value) && value.every((label) => oneOf(...OPTIONAL_LABELS)(label) === undefined)
      ? undefined
      : `give an array of ${OPTIONAL_LABELS.map((label) => `'${label}'`).join(', ')}`,
};

const PREFER_NEWEST: Shape = {
  appVersion: (value) =>
    typeof value === 'string' && isAppVersion(value)
      ? undefined
      : "give numbers between dots, as '1.4.2', '1.5.0-rc.1' or the number of the CI run: at most 64 characters. A commit hash has no order",
};

const SHUTDOWN: Shape = { drainMs: integer(0, MAX_TIMER_MS, 'milliseconds'), totalMs: milliseconds };

/** Options that are objects, with their required properties. */
const NESTED: Readonly<Record<string, { readonly shape: Shape; readonly required?: readonly string[] }>> = {
  timing: { shape: TIMING },
  tls: { shape: TLS, required: ['ca', 'cert', 'key'] },
  enhancers: { shape: ENHANCERS },
  limits: { shape: LIMITS },
  shutdown: { shape: SHUTDOWN },
  spill: { shape: SPILL },
  kv: { shape: KV },
  metrics: { shape: METRICS },
  preferNewest: { shape: PREFER_NEWEST, required: ['appVersion'] },
};

const OPTIONS: Shape = {
  group: (value) =>
    typeof value === 'string' && /^[^\s\p{C}]{1,128}$/u.test(value)
      ? undefined
      : 'give a name of 1 to 128 characters without spaces, the same on all pods',
  backend: method('create', "a backend, as sqlite({ file: '/data/hedge.db' }) from nestjs-hedge/sqlite"),
  address: text,
  mode: oneOf('member', 'client', 'off'),
  timing: oneOf(...Object.keys(TIMING_PRESETS)),
  renewal: oneOf('main', 'worker'),
  maxStallMs: milliseconds,
  defaultTimeoutMs: milliseconds,
  maxReruns: (value) => (value === Infinity ? undefined : integer(0, 1_000, 'reruns')(value)),
  tls: object,
  secret: (value) => {
    if (Array.isArray(value) ? value.length > 0 && value.every(isSecret) : isSecret(value)) return undefined;
    if (typeof value === 'string') return `give ${MIN_SECRET_LENGTH} or more`;
    return `give a text of ${MIN_SECRET_LENGTH} characters or more, or a list of such texts during a rotation, in which '${STORED_SECRET}' is the secret in the database`;
  },
  serializer: (value) =>
    hasMethod(value, 'serialize') && hasMethod(value, 'deserialize')
      ? undefined
      : 'give an object with serialize(value) and deserialize(bytes)',
  enhancers: object,
  limits: object,
  shutdown: object,
  spill: object,
  kv: object,
  metrics: object,
  preferNewest: object,
} satisfies Record<keyof HedgeOptions, Check>;

/** The paths of all options outside of this object. */
function pathsOutside(shape: Shape): string[] {
  const nested = Object.entries(NESTED).flatMap(([name, inner]) =>
    inner.shape === shape ? [] : Object.keys(inner.shape).map((option) => `${name}.${option}`),
  );
  return shape === OPTIONS ? nested : [...Object.keys(OPTIONS), ...nested];
}

function object(value: unknown): string | undefined {
  return isObject(value) ? undefined : 'give an object';
}

function shapeProblems(
  path: string,
  shape: Shape,
  value: unknown,
  required: readonly string[] = path === '' ? ['group', 'backend'] : [],
): string[] {
  if (!isObject(value)) return [`The options are ${show('', value)}; give an object with group and backend.`];
  const problems: string[] = [];
  for (const name of required) {
    if (value[name] === undefined) problems.push(`${path}${name} is missing; ${shape[name]?.(undefined)}.`);
  }
  for (const [name, item] of Object.entries(value)) {
    if (item === undefined) continue;
    const nested = path === '' ? NESTED[name] : undefined;
    const check = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (check === undefined) problems.push(unknownOption(path, name, Object.keys(shape), pathsOutside(shape)));
    else if (nested !== undefined && isObject(item)) {
      problems.push(...shapeProblems(`${name}.`, nested.shape, item, nested.required));
    } else {
      const problem = check(item);
      if (problem === undefined) continue;
      const found = name === 'secret' ? unfitSecret(item) : `is ${show(name, item)}`;
      problems.push(`${path}${name} ${found}; ${problem}.`);
    }
  }
  return problems;
}

function isSecret(value: unknown): boolean {
  return value === STORED_SECRET || (typeof value === 'string' && value.length >= MIN_SECRET_LENGTH);
}

/** Describes a secret that was refused, without its text. */
function unfitSecret(value: unknown): string {
  if (typeof value === 'string') return `has ${value.length} characters`;
  if (!Array.isArray(value)) return `is ${value === null ? 'null' : `of type ${typeof value}`}`;
  const index = value.findIndex((one) => !isSecret(one));
  if (index === -1) return 'is an empty list';
  const one: unknown = value[index];
  return `is a list whose entry ${index + 1} ${typeof one === 'string' ? `has ${one.length} characters` : 'is no text'}`;
}

/** The value for the message, unless it is a private key. It is cut, because it may be a secret in the wrong place. */
function show(name: string, value: unknown): string {
  if (name === 'key') return typeof value === 'string' ? 'a text without a PEM header' : `of type ${typeof value}`;
  if (typeof value === 'string') return shown(value);
  if (typeof value === 'function') return `a function`;
  if (Array.isArray(value)) return 'an array';
  return isObject(value) ? 'an object' : String(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasMethod(value: unknown, name: string): boolean {
  return typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[name] === 'function';
}
