/** A level of a log line, as the methods of Nest's logger. */
export type LogLevel = 'log' | 'warn' | 'error' | 'debug';

interface LogEventDefinition {
  readonly level: LogLevel;
  /** The fields beside `event`, `group` and `member`. */
  readonly fields: readonly string[];
  readonly help: string;
}

const DEFINITIONS = {
  'pod.started': { level: 'log', fields: ['mode', 'backend'], help: 'The pod has started.' },
  'leadership.gained': { level: 'log', fields: ['token'], help: 'This pod leads.' },
  'leadership.handover': {
    level: 'log',
    fields: ['token', 'successor'],
    help: 'This leader releases its lease, and names the pod that should lead next.',
  },
  'leadership.ended': {
    level: 'log',
    fields: ['token', 'reason'],
    help: 'This pod no longer leads, because it stops or was asked to resign.',
  },
  'leadership.lost': {
    level: 'warn',
    fields: ['token', 'reason', 'code'],
    help: 'This pod no longer leads, and nobody asked for that.',
  },
  'leader.changed': { level: 'log', fields: ['leader', 'token'], help: 'Another pod leads.' },
  'leader.none': { level: 'log', fields: [], help: 'The group has no leader.' },
  'task.failed': { level: 'error', fields: ['task'], help: 'A `@WhileLeader` method threw. It runs again.' },
  'renewal.late': {
    level: 'debug',
    fields: ['token', 'durationMs', 'limitMs'],
    help: 'A renewal of the lease took a quarter of its time or more.',
  },
  'campaign.failed': {
    level: 'warn',
    fields: ['error'],
    help: 'This pod does not campaign, because it does not reach itself at its address.',
  },
  'campaign.recovered': { level: 'log', fields: [], help: 'This pod campaigns again.' },
  'database.failed': {
    level: 'warn',
    fields: ['error'],
    help: 'An outage of the database has begun: at the start, for the lease, or for locks. It is logged once.',
  },
  'database.recovered': { level: 'log', fields: [], help: 'The outage has ended.' },
  'event_loop.stalled': {
    level: 'warn',
    fields: ['durationMs', 'cpuMs', 'lost'],
    help: 'The event loop did not turn for a quarter of a lease or longer. `lost` counts the leases that it cost.',
  },
  'members.changed': {
    level: 'log',
    fields: ['members'],
    help: 'Pods have joined or left. `members` is their number now.',
  },
  'members.silent': {
    level: 'warn',
    fields: ['silent', 'heard'],
    help: 'Most members have stopped sending heartbeats to this leader.',
  },
  'members.heard': { level: 'log', fields: [], help: 'Most members send heartbeats to this leader again.' },
  'contact.lost': { level: 'warn', fields: ['leader'], help: 'The leader does not answer this pod.' },
  'contact.restored': { level: 'log', fields: [], help: 'The leader answers again, or another pod leads.' },
  'link.opened': { level: 'debug', fields: ['peer', 'direction'], help: 'A link to another pod has opened.' },
  'link.closed': { level: 'debug', fields: ['peer', 'direction', 'error'], help: 'A link to another pod has closed.' },
  'peer.refused': {
    level: 'warn',
    fields: ['peer'],
    help: 'This pod has refused a handshake, or a message that breaks the protocol.',
  },
  'message.failed': {
    level: 'error',
    fields: ['kind', 'topic', 'requestId', 'attempt', 'caller', 'token', 'code'],
    help: 'A handler threw an unexpected error.',
  },
  'message.interrupted': {
    level: 'warn',
    fields: ['topic', 'requestId', 'attempt', 'leader'],
    help: 'The leader was lost while it may have been running a message of this pod.',
  },
  'lock.lost': {
    level: 'warn',
    fields: ['lock', 'token', 'reason', 'code'],
    help: 'This pod lost a lock that it held.',
  },
  'permit.lost': {
    level: 'warn',
    fields: ['semaphore', 'token', 'reason', 'code'],
    help: 'This pod lost a permit of a semaphore that it held.',
  },
  'job.failed': { level: 'error', fields: ['job', 'fireTime', 'attempt', 'token'], help: 'The method of a job threw.' },
  'job.lost': {
    level: 'warn',
    fields: ['job', 'fireTime', 'attempt', 'token', 'pod'],
    help: 'The outcome of a run is unknown, because its pod lost the leadership.',
  },
  'job.missed': {
    level: 'warn',
    fields: ['job', 'fireTime', 'count'],
    help: 'No leader could run a firing in time.',
  },
  'job.skipped': {
    level: 'warn',
    fields: ['job', 'fireTime', 'count'],
    help: 'A firing fell due while the run before had not ended.',
  },
  'http.failed': {
    level: 'error',
    fields: ['code'],
    help: '`HedgeHttpFilter` answered with a status from 500 to 502.',
  },
} as const satisfies Record<string, LogEventDefinition>;

type Definitions = typeof DEFINITIONS;
export type LogEvent = keyof Definitions;

/** The value of a field. A field without a value is left out. */
export type FieldValue = string | number | bigint | undefined;

type FieldsOf<Event extends LogEvent> = { readonly event: Event } & {
  readonly [Field in Definitions[Event]['fields'][number]]: FieldValue;
};

/** The event of a line of one level, with all of its fields. */
export type LogFields<Level extends LogLevel> = {
  [Event in LogEvent]: Definitions[Event]['level'] extends Level ? FieldsOf<Event> : never;
}[LogEvent];

/** The lines that have an event and fields: the one table that the code, docs/logs.md and the tests read. */
export const LOG_EVENTS: Readonly<Record<LogEvent, LogEventDefinition>> = DEFINITIONS;
