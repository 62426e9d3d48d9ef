import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startSpannerEmulator } from '../../../libs/spanner-emulator/src/index.js';

/** The built command `npx nestjs-hedge`. */
const NESTJS_HEDGE = fileURLToPath(new URL('../../../libs/hedge/dist/cli/main.js', import.meta.url));

/** The database that the pods of one demo share. */
export interface Database {
  /** Shown in the first line of the demo. */
  readonly name: string;
  /** Environment variables with which a pod uses this database. */
  readonly env: Readonly<Record<string, string>>;
  /** Removes all resources. Called when no pod runs any more. */
  close(): Promise<void>;
}

/** The databases, by the value of `--backend`. */
export const DATABASES: Readonly<Record<string, () => Promise<Database>>> = {
  sqlite: async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hedge-demo-'));
    const file = join(folder, 'hedge.db');
    return {
      name: `sqlite ${file}`,
      env: { HEDGE_SQLITE_FILE: file },
      close: () => rm(folder, { recursive: true, force: true }),
    };
  },
  spanner: async () => {
    const emulator = await startSpannerEmulator({ port: 0 });
    const { database } = emulator;
    // Google's client does not have to look for a cloud environment.
    const env = { SPANNER_EMULATOR_HOST: emulator.address, METADATA_SERVER_DETECTION: 'none' };
    const schema = [NESTJS_HEDGE, 'schema', '--index', '--apply', '--database', database];
    await promisify(execFile)(process.execPath, schema, { env: { ...process.env, ...env } });
    return {
      name: `spanner ${database}, on an emulator at ${emulator.address}`,
      env: { ...env, HEDGE_BACKEND: 'spanner', HEDGE_SPANNER_DATABASE: database },
      close: async () => emulator.close(),
    };
  },
};
