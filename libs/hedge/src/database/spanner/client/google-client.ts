import { createRequire } from 'node:module';
import type { Spanner } from '@google-cloud/spanner';
import { HedgeError, messageOf } from '../../../common/errors.js';
import { loadProblem } from '../../../common/optional-package.js';

/** The connection is found dead after 40 s without an answer, not after the client's two minutes. */
const KEEPALIVE = { 'grpc.keepalive_time_ms': 30_000, 'grpc.keepalive_timeout_ms': 10_000 };

/**
 * After an outage the client knocks again within half a second. By default the pause between two attempts doubles up to
 * two minutes, so that a group stays without a leader for up to half of the outage's length once the database is back.
 */
const RECONNECT = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 400,
  // Of the name, when it could not be resolved: by default half a minute.
  'grpc.dns_min_time_between_resolutions_ms': 400,
};

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** @throws HedgeError INVALID_OPTIONS without the package, or for what the client finds wrong in the environment. */
export function makeClient(name: string): Spanner {
  const { Spanner } = loadPackage();
  const [, projectId = ''] = name.split('/');
  try {
    // A library in somebody's app does not send metrics of its own to Cloud Monitoring.
    return new Spanner({ projectId, disableBuiltInMetrics: true, ...KEEPALIVE, ...RECONNECT });
  } catch (cause) {
    throw new HedgeError('INVALID_OPTIONS', `The Spanner client cannot be made: ${messageOf(cause)}.`, { cause });
  }
}

/**
 * Before the first call, because one that finds no credentials makes the client throw where nobody can catch it.
 * @throws the client's error.
 */
export async function findCredentials(client: Spanner): Promise<void> {
  if (!process.env['SPANNER_EMULATOR_HOST']) await client.auth.getClient();
}

/**
 * The package, as `import` gives it. Its listeners for SIGINT and SIGTERM are taken off again: they only flush
 * metrics, and a process that has them no longer ends by those signals (seen in 8.13 and 9.0). Required, not
 * imported, so that nobody else can add a listener meanwhile.
 */
function loadPackage(): typeof import('@google-cloud/spanner') {
  const before = new Set(SIGNALS.flatMap((signal) => process.listeners(signal)));
  try {
    return createRequire(import.meta.url)('@google-cloud/spanner') as typeof import('@google-cloud/spanner');
  } catch (cause) {
    const problem = loadProblem('@google-cloud/spanner', cause);
    throw new HedgeError('INVALID_OPTIONS', `The Spanner backend has no database client. ${problem}`, { cause });
  } finally {
    for (const signal of SIGNALS) {
      const added = process.listeners(signal).filter((listener) => !before.has(listener));
      for (const listener of added) process.removeListener(signal, listener);
    }
  }
}

/**
 * Runs schema statements, and waits until they took effect.
 * @throws the client's error; HedgeError INVALID_OPTIONS when the package is not installed.
 */
export async function applyDdl(name: string, statements: readonly string[]): Promise<void> {
  const client = makeClient(name);
  await findCredentials(client);
  try {
    const request = { database: name, statements: [...statements] };
    const once = { timeout: 30_000, retry: { retryCodes: [] } };
    const [operation] = await client.getDatabaseAdminClient().updateDatabaseDdl(request, once);
    await operation.promise();
  } finally {
    await client.close();
  }
}
