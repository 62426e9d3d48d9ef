import { ownClients } from './pg-client.js';

/** A server that does not answer is given up after this, in milliseconds. */
const CONNECT_MS = 10_000;

/**
 * Runs the statements in one transaction.
 * @throws the client's error; HedgeError INVALID_OPTIONS when the package is not installed.
 */
export async function applyDdl(connectionString: string, statements: readonly string[]): Promise<void> {
  const client = ownClients({ connectionString })(CONNECT_MS);
  client.on('error', () => undefined);
  await client.connect();
  try {
    for (const statement of ['BEGIN', ...statements, 'COMMIT']) await client.query(statement, []);
  } finally {
    await client.end();
  }
}
