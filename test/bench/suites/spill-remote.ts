import type { BulkClientCommands } from '../bulk-client.js';
import type { BulkServerCommands } from '../bulk-server.js';
import { Child } from '../child.js';
import { freePort, withFolder } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import type { Plan } from '../options.js';
import type { SpillPeerCommands } from '../spill-peer.js';
import type { Row } from '../statistics.js';

type Peer = Child<SpillPeerCommands>;

const MIB = 1024 * 1024;
const RECORD_BYTES = 4_096;
/** The pods that hold what is spilled: RAM and disk. */
const HOLDER = ['640MB', '2GB'] as const;
/** Times `streamedBytes`, so 4 GB in a full run. */
const MUCH = 4;
/** The RAM that the owner lends; frames on their way are in it. */
const OWNER_MEMORY = 64 * MIB;
/** What the one that spills much lends, so that it spills to its disk and to others. */
const SPILLER_DISK = '1GB';

export interface SpillRemoteRow extends Row {
  readonly mbPerSecond?: number;
  readonly rssMiB?: number;
}

/** Spilling to other pods, and reading from one and from three of them, against a bare stream of gRPC. */
export function spillRemoteSuite(plan: Plan): Promise<SpillRemoteRow[]> {
  return withFolder(async (folder) => {
    const pods: Peer[] = [];
    const start = async (memory: string, disk: string): Promise<Peer> => {
      const address = `127.0.0.1:${await freePort()}`;
      const env = { BENCH_ADDRESS: address, BENCH_FOLDER: folder, BENCH_MEMORY: memory, BENCH_DISK: disk };
      const pod = await Child.start<SpillPeerCommands>('spill-peer.ts', env);
      pods.push(pod);
      return pod;
    };
    const bulkServer = await Child.start<BulkServerCommands>('bulk-server.ts');
    const bulkClient = await Child.start<BulkClientCommands>('bulk-client.ts');
    const port = await bulkServer.ask('port');
    try {
      await start(...HOLDER);
      const owner = await start(`${OWNER_MEMORY}`, '0');
      await grown(owner, 2);
      await owner.ask('fillUp', { bytes: OWNER_MEMORY });
      await owner.ask('keep', { name: 'on one' });
      for (let pod = 0; pod < 2; pod += 1) await start(...HOLDER);
      await grown(owner, 4);
      const servers = await owner.ask('keep', { name: 'on three' });
      if (servers < 3) throw new Error(`what should be on three pods is on ${servers}`);
      const read = (name: string, concurrency: number): Contestant => ({
        name: 'spill-remote-read',
        concurrency,
        run: (shape) => owner.ask('read', { ...shape, name }),
      });
      const rows = await compete(
        [
          { name: 'bare-grpc-bulk', concurrency: 1, run: (shape) => bulkClient.ask('take', { ...shape, port }) },
          { name: 'spill-remote-write', concurrency: 1, run: (shape) => owner.ask('write', shape) },
          read('on one', 1),
          read('on three', 3),
          { name: 'send-while-spilling', concurrency: 1, run: (shape) => owner.ask('sendMeanwhile', shape) },
        ],
        plan,
      );
      const spiller = await start(`${OWNER_MEMORY}`, SPILLER_DISK);
      await grown(spiller, 5);
      const idle = await spiller.ask('memory');
      const most = await spiller.ask('spillMuch', { bytes: MUCH * plan.streamedBytes });
      return [...rows.map(withBytes), memoryRow((most - idle) / MIB)];
    } finally {
      await Promise.all([...pods, bulkServer, bulkClient].map((child) => child.end('SIGKILL')));
    }
  });
}

async function grown(pod: Peer, members: number): Promise<void> {
  for (const end = Date.now() + 30_000; Date.now() < end;) {
    if ((await pod.ask('members')) === members) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`the pods did not become a group of ${members} within 30 s`);
}

function withBytes(row: Row): SpillRemoteRow {
  if (row.name === 'send-while-spilling') return row;
  const bytes = row.name === 'bare-grpc-bulk' ? MIB : RECORD_BYTES;
  return { ...row, mbPerSecond: (row.opsPerSecond * bytes) / 1e6 };
}

/** What the pod grew by at most, what it lends itself included. */
function memoryRow(rssMiB: number): SpillRemoteRow {
  return { name: 'memory-spilling', concurrency: 1, opsPerSecond: 0, p50Ms: 0, p99Ms: 0, spread: 0, rssMiB };
}
