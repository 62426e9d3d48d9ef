import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The database that the pods of one demo share. */
export interface Database {
  /** For the first line of the demo. */
  readonly name: string;
  /** Environment that makes a pod use it. */
  readonly env: Readonly<Record<string, string>>;
  /** Removes everything it made. Called when no pod runs any more. */
  close(): Promise<void>;
}

/** By the name that `--backend` takes. */
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
};
