import { randomUUID } from 'node:crypto';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { LeaderService } from '../../election/leader.service.js';
import { MAX_BY, MAX_REASON } from '../../jobs/job-requests.js';
import type { JobsService } from '../../jobs/jobs.service.js';
import type { KvEntry } from '../../kv/kv-entry.js';
import type { KvStore } from '../../kv/kv.store.js';
import type { SemaphoreService } from '../../semaphores/semaphore.service.js';

/** The key of the records of the actions, in the key/value log of the group. */
export const ACTIONS_KEY = 'hedge-dashboard/actions';

/** An action as the page sends it. */
export type DashboardAction =
  | { readonly action: 'run' | 'pause' | 'resume'; readonly name: string; readonly reason?: string }
  /** `token` is the term that the person has seen. */
  | { readonly action: 'resign'; readonly token: string; readonly reason?: string }
  | { readonly action: 'resize'; readonly name: string; readonly limit: number; readonly reason?: string }
  | {
      readonly action: 'put';
      readonly name: string;
      readonly value: string;
      /** The version that the person has seen; `null` when the key had no value. */
      readonly ifVersion: { readonly version: string; readonly id: string } | null;
      readonly reason?: string;
    };

/** A row of the key `ACTIONS_KEY`. Each action has two with one id: `begun` before it, and its outcome after it. */
export interface ActionRecord {
  readonly id: string;
  readonly action: DashboardAction['action'];
  /** The job, the semaphore or the key. */
  readonly name?: string;
  readonly limit?: number;
  readonly token?: string;
  readonly reason?: string;
  /** The person: see `HedgeDashboardOptions.user`. */
  readonly by: string;
  /** The pod that the person called. */
  readonly pod: string;
  readonly outcome: 'begun' | 'done' | 'failed';
  readonly error?: string;
}

/** Limits of the texts of a record, in characters. A longer name or reason is refused. */
const MOST_NAME = 4_096;
const MOST_ERROR = 1_000;

export interface ActionsDeps {
  readonly leader: LeaderService;
  readonly jobs: JobsService;
  readonly kv: KvStore;
  readonly semaphores: SemaphoreService;
  readonly pod: () => string;
  /** The records that stay: see `HedgeDashboardOptions.historyLimit`. */
  readonly historyLimit: number;
}

/**
 * Performs an action of a person, and records it in the log table before and after. Then deletes the oldest records.
 * @throws HedgeError when the action failed, or could not be recorded before it began. Then nothing was done.
 */
export async function perform(deps: ActionsDeps, action: DashboardAction, user: string): Promise<void> {
  const by = user.slice(0, MAX_BY);
  const record = {
    id: randomUUID(),
    action: action.action,
    ...('name' in action && { name: action.name }),
    ...('limit' in action && { limit: action.limit }),
    ...('token' in action && { token: action.token }),
    ...(action.reason !== undefined && { reason: action.reason }),
    by,
    pod: deps.pod(),
  };
  const write = (outcome: ActionRecord['outcome'], error?: string) =>
    deps.kv.putJson(ACTIONS_KEY, { ...record, outcome, ...(error !== undefined && { error }) });
  const writeLast = async (...last: Parameters<typeof write>) => trimRecords(deps, await write(...last));
  await write('begun');
  try {
    await run(deps, action, { by, ...(action.reason !== undefined && { reason: action.reason }) });
  } catch (error) {
    await writeLast('failed', messageOf(error).slice(0, MOST_ERROR));
    throw error;
  }
  await writeLast('done');
}

/** The action has ended. If the deletion fails, the next action deletes more. */
async function trimRecords({ kv, historyLimit }: ActionsDeps, newest: KvEntry): Promise<void> {
  if (historyLimit === Infinity) return;
  await kv.trim(newest, historyLimit).catch(() => undefined);
}

async function run(deps: ActionsDeps, action: DashboardAction, origin: { by: string; reason?: string }): Promise<void> {
  switch (action.action) {
    case 'run':
      await deps.jobs.runNow(action.name, origin);
      return;
    case 'pause':
    case 'resume':
      return deps.jobs[action.action](action.name, origin);
    case 'resign':
      return deps.leader.requestResignation({ token: BigInt(action.token) });
    case 'resize':
      return deps.semaphores.get(action.name, { limit: action.limit }).resize(action.limit);
    case 'put': {
      const { ifVersion } = action;
      await deps.kv.put(action.name, action.value, ifVersion === null ? { ifAbsent: true } : { ifVersion });
    }
  }
}

/**
 * The action in the body of a request: JSON, parsed by the app or not.
 * @throws HedgeError INVALID_ARGUMENT. The services check the names and values.
 */
export function parseAction(body: unknown): DashboardAction {
  const { action, reason, name, value, limit, ifVersion, token } = fieldsOf(body);
  const common = typeof reason === 'string' && reason !== '' ? { reason } : {};
  assertShort('reason', reason, MAX_REASON);
  assertShort('name', name, MOST_NAME);
  if (action === 'resign' && typeof token === 'string' && /^\d{1,19}$/.test(token)) {
    return { action, token, ...common };
  }
  if (typeof name === 'string') {
    if (action === 'run' || action === 'pause' || action === 'resume') return { action, name, ...common };
    if (action === 'resize' && typeof limit === 'number') return { action, name, limit, ...common };
    if (action === 'put' && typeof value === 'string' && typeof ifVersion === 'object') {
      return { action, name, value, ifVersion: ifVersion as { version: string; id: string } | null, ...common };
    }
  }
  throw new HedgeError(
    'INVALID_ARGUMENT',
    'The body is no action of the dashboard. Send JSON such as {"action":"pause","name":"nightly report"}, and let the app parse bodies of type application/json or text.',
  );
}

function assertShort(field: string, value: unknown, most: number): void {
  if (typeof value !== 'string' || value.length <= most) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `The "${field}" of the action has ${value.length} characters, and ${most} are allowed. Nothing was done.`,
  );
}

function fieldsOf(body: unknown): Record<string, unknown> {
  try {
    const text = typeof body === 'string' || body instanceof Uint8Array;
    return ((text ? JSON.parse(Buffer.from(body).toString()) : body) ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}
