import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Child } from '../child.js';
import { freePort } from '../../../scripts/free-port.js';
import { withFolder } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import type { Plan } from '../options.js';
import type { SpillPodCommands } from '../spill-pod.js';
import type { Row } from '../statistics.js';

/** p50 and p99 are the delays of the event loop meanwhile. */
export interface SpillRow extends Row {
  readonly mbPerSecond: number;
}

/** The bytes of one operation of each row. Our operations are records. */
const LOCAL: Readonly<Record<keyof SpillPodCommands, number>> = {
  memcpy: 1024 * 1024,
  'spill-ram-records': 100,
  'spill-ram-batches': 100,
  'spill-ram-4k': 4_096,
  'spill-read-batches': 4_096,
  'spill-read-records': 100,
  'disk-write': 1024 * 1024,
  'spill-disk-write': 4_096,
  'disk-read': 1024 * 1024,
  'spill-disk-read': 4_096,
};

/**
 * Spilling to the RAM and disk of this pod, compared with the raw speed of memory and disk. Each row has a separate pod:
 * otherwise the garbage of one row would be collected while the next row is measured.
 */
export function spillSuite(plan: Plan): Promise<SpillRow[]> {
  return withFolder(async (folder) => {
    const pods: Child<SpillPodCommands>[] = [];
    const start = async (name: keyof SpillPodCommands): Promise<Contestant> => {
      const own = join(folder, name);
      await mkdir(own);
      const env = { BENCH_ADDRESS: `127.0.0.1:${await freePort()}`, BENCH_FOLDER: own };
      const pod = await Child.start<SpillPodCommands>('spill-pod.ts', env);
      pods.push(pod);
      return { name, concurrency: 1, run: (shape) => pod.ask(name, shape) };
    };
    try {
      const contestants: Contestant[] = [];
      for (const name of Object.keys(LOCAL) as (keyof SpillPodCommands)[]) contestants.push(await start(name));
      const rows = await compete(contestants, plan);
      return rows.map((row) => withBytes(row, LOCAL[row.name as keyof SpillPodCommands]));
    } finally {
      await Promise.all(pods.map((pod) => pod.end('SIGKILL')));
    }
  });
}

function withBytes(row: Row, bytes: number): SpillRow {
  return { ...row, mbPerSecond: (row.opsPerSecond * bytes) / 1e6 };
}
