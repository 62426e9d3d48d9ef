import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BulkClientCommands } from '../bulk-client.js';
import type { BulkServerCommands } from '../bulk-server.js';
import { Child } from '../child.js';
import { freePort } from '../../../scripts/free-port.js';
import { withFolder } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import type { Plan } from '../options.js';
import type { SpillPeerCommands } from '../spill-peer.js';
import type { Row } from '../statistics.js';

type Peer = Child<SpillPeerCommands>;

const MIB = 1024 * 1024;
const RECORD_BYTES = 4_096;
/** The name of the store that is read. */
const KEPT = 'kept';
/** The RAM and disk of the holders. */
const HOLDER = ['640MB', '2GB'] as const;
/** Multiple of `streamedBytes`: 4 GB in a full run. */
const MUCH = 4;
/** The RAM of the owner, including frames in flight. */
const OWNER_MEMORY = 64 * MIB;
/** The limits of the pod that spills much, so that it spills to its disk and to other pods. */
const SPILLER_DISK = '1GB';

export interface SpillRemoteRow extends Row {
  readonly mbPerSecond?: number;
  readonly rssMiB?: number;
}

/** Pods that hold the frames of an owner without free room. */
class Group {
  readonly pods: Peer[] = [];
  owner!: Peer;

  private constructor(private readonly folder: string) {}

  /** The frames of the owner are on all holders. The leader, the first of all pods, is one of them. */
  static async start(folder: string, holders: number): Promise<Group> {
    await mkdir(folder);
    const group = new Group(folder);
    for (let pod = 0; pod < holders; pod += 1) await group.add(...HOLDER);
    group.owner = await group.add(`${OWNER_MEMORY}`, '0');
    await group.owner.ask('fillUp', { bytes: OWNER_MEMORY });
    const servers = await group.owner.ask('keep', { name: KEPT });
    if (servers < holders) throw new Error(`The frames are on ${servers} pods instead of ${holders}`);
    return group;
  }

  async add(memory: string, disk: string): Promise<Peer> {
    const pod = await startPeer(this.folder, memory, disk);
    this.pods.push(pod);
    await grown(this.pods);
    return pod;
  }
}

/** Spilling to another pod, and reading from one and from three pods, compared with a raw gRPC stream. */
export function spillRemoteSuite(plan: Plan): Promise<SpillRemoteRow[]> {
  return withFolder(async (folder) => {
    const bulkServer = await Child.start<BulkServerCommands>('bulk-server.ts');
    const bulkClient = await Child.start<BulkClientCommands>('bulk-client.ts');
    const port = await bulkServer.ask('port');
    const groups: Group[] = [];
    const start = async (holders: number): Promise<Group> => {
      const group = await Group.start(join(folder, `${holders}`), holders);
      groups.push(group);
      return group;
    };
    try {
      const [{ owner: ofOne }, ofThree] = [await start(1), await start(3)];
      const read = (owner: Peer, concurrency: number): Contestant => ({
        name: 'spill-remote-read',
        concurrency,
        run: (shape) => owner.ask('read', { ...shape, name: KEPT }),
      });
      const rows = await compete(
        [
          { name: 'bare-grpc-bulk', concurrency: 1, run: (shape) => bulkClient.ask('take', { ...shape, port }) },
          { name: 'spill-remote-write', concurrency: 1, run: (shape) => ofOne.ask('write', shape) },
          read(ofOne, 1),
          read(ofThree.owner, 3),
          { name: 'send-while-spilling', concurrency: 1, run: (shape) => ofOne.ask('sendMeanwhile', shape) },
        ],
        plan,
      );
      const spiller = await ofThree.add(`${OWNER_MEMORY}`, SPILLER_DISK);
      const idle = await spiller.ask('memory');
      const most = await spiller.ask('spillMuch', { bytes: MUCH * plan.streamedBytes });
      return [...rows.map(withBytes), memoryRow((most - idle) / MIB)];
    } finally {
      const children = [...groups.flatMap(({ pods }) => pods), bulkServer, bulkClient];
      await Promise.all(children.map((child) => child.end('SIGKILL')));
    }
  });
}

async function startPeer(folder: string, memory: string, disk: string): Promise<Peer> {
  const address = `127.0.0.1:${await freePort()}`;
  const env = { BENCH_ADDRESS: address, BENCH_FOLDER: folder, BENCH_MEMORY: memory, BENCH_DISK: disk };
  return Child.start<SpillPeerCommands>('spill-peer.ts', env);
}

async function grown(pods: readonly Peer[]): Promise<void> {
  for (const end = Date.now() + 30_000; Date.now() < end;) {
    const views = await Promise.all(pods.map((pod) => pod.ask('members')));
    if (views.every((members) => members === pods.length)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`The pods did not form a group of ${pods.length} within 30 s`);
}

function withBytes(row: Row): SpillRemoteRow {
  if (row.name === 'send-while-spilling') return row;
  const bytes = row.name === 'bare-grpc-bulk' ? MIB : RECORD_BYTES;
  return { ...row, mbPerSecond: (row.opsPerSecond * bytes) / 1e6 };
}

/** The highest growth of the memory of the pod, including the memory for its own stores. */
function memoryRow(rssMiB: number): SpillRemoteRow {
  return { name: 'memory-spilling', concurrency: 1, opsPerSecond: 0, p50Ms: 0, p99Ms: 0, spread: 0, rssMiB };
}
