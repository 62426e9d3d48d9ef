import { createRequire } from 'node:module';
import type { Spanner } from '@google-cloud/spanner';
import { HedgeError } from '../../common/errors.js';

/** The connection is found dead after 40 s without an answer, not after the client's two minutes. */
const KEEPALIVE = { 'grpc.keepalive_time_ms': 30_000, 'grpc.keepalive_timeout_ms': 10_000 };

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** @throws HedgeError INVALID_OPTIONS when the package is not installed; the client's error without credentials. */
export async function makeClient(name: string): Promise<Spanner> {
  const { Spanner } = loadPackage();
  const [, projectId = ''] = name.split('/');
  // A library in somebody's app does not send metrics of its own to Cloud Monitoring.
  const client = construct(() => new Spanner({ projectId, disableBuiltInMetrics: true, ...KEEPALIVE }));
  // Looked for here, because a call that finds none makes the client throw where nobody can catch it.
  if (!process.env['SPANNER_EMULATOR_HOST']) await client.auth.getClient();
  return client;
}

/** @throws HedgeError INVALID_OPTIONS for what the client finds wrong in the environment, as the emulator's address. */
function construct(make: () => Spanner): Spanner {
  try {
    return make();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HedgeError('INVALID_OPTIONS', `The Spanner client cannot be made: ${reason}.`, { cause });
  }
}

/**
 * The package, as `import` gives it. Its listeners for SIGINT and SIGTERM are taken off again: they only flush
 * metrics, and a process that has them no longer ends by those signals (seen in 8.13 and 9.0). Required, not
 * imported, so that nobody else can add a listener meanwhile.
 */
export function loadPackage(): typeof import('@google-cloud/spanner') {
  const before = new Set(SIGNALS.flatMap((signal) => process.listeners(signal)));
  try {
    return createRequire(import.meta.url)('@google-cloud/spanner') as typeof import('@google-cloud/spanner');
  } catch (cause) {
    throw new HedgeError(
      'INVALID_OPTIONS',
      'The Spanner backend needs its database client. Install it: npm i @google-cloud/spanner.',
      { cause },
    );
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
  const client = await makeClient(name);
  try {
    const request = { database: name, statements: [...statements] };
    const once = { timeout: 30_000, retry: { retryCodes: [] } };
    const [operation] = await client.getDatabaseAdminClient().updateDatabaseDdl(request, once);
    await operation.promise();
  } finally {
    await client.close();
  }
}
