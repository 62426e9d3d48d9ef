import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Console } from '../../apps/demo/runner/console.js';
import type { Database } from '../../apps/demo/runner/database.js';
import { DemoCluster } from '../../apps/demo/runner/demo-cluster.js';
import { Ports } from '../../apps/demo/runner/ports.js';

/** Runs work on three pods of the demo that agree, and stops them. */
export async function withDemo<Result>(
  database: Database,
  work: (cluster: DemoCluster) => Promise<Result>,
): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'hedge-pictures-'));
  const cluster = new DemoCluster(database, new Ports(), 8080, new Console(process.stderr), folder);
  try {
    for (let i = 0; i < 3; i += 1) await cluster.add();
    await cluster.agree(60_000);
    return await work(cluster);
  } finally {
    await cluster.stop();
    await database.close();
    await rm(folder, { recursive: true, force: true });
  }
}
