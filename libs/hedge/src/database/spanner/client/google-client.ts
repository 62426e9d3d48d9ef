import { createRequire } from 'node:module';
import type { Spanner } from '@google-cloud/spanner';
import { HedgeError, messageOf } from '../../../common/errors.js';
import { loadProblem } from '../../../common/optional-package.js';

/** A dead connection is detected after 40 s without an answer, instead of after the client's two minutes. */
const KEEPALIVE = { 'grpc.keepalive_time_ms': 30_000, 'grpc.keepalive_timeout_ms': 10_000 };

/**
 * After an outage the client reconnects within half a second. By default the pause between two attempts doubles up to
 * two minutes, so that after an outage a group could have no leader for up to half of its length.
 */
const RECONNECT = {
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 400,
  // The pause after a failed name resolution: by default half a minute.
  'grpc.dns_min_time_between_resolutions_ms': 400,
};

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** @throws HedgeError INVALID_OPTIONS without the package, or when the client rejects its environment. */
export function makeClient(name: string): Spanner {
  const { Spanner } = loadPackage();
  const [, projectId = ''] = name.split('/');
  try {
    // A library must not send its own metrics to the Cloud Monitoring of an application.
    return new Spanner({ projectId, disableBuiltInMetrics: true, ...KEEPALIVE, ...RECONNECT });
  } catch (cause) {
    throw new HedgeError('INVALID_OPTIONS', `The Spanner client cannot be created: ${messageOf(cause)}.`, { cause });
  }
}

/**
 * Loads the credentials before the first call: a call without credentials makes the client throw where no code can catch
 * it.
 * @throws the client's error.
 */
export async function findCredentials(client: Spanner): Promise<void> {
  if (!process.env['SPANNER_EMULATOR_HOST']) await client.auth.getClient();
}

/**
 * Loads the package, and removes its listeners for SIGINT and SIGTERM. They only flush metrics, and with them the process
 * no longer ends on those signals (seen in 8.13 and 9.0). It is required, not imported, so that no other code can add a
 * listener meanwhile.
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
 * Runs schema statements, and waits until they have taken effect.
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
