import assert from 'node:assert/strict';
import { type DemoCluster, eventually } from './demo-cluster.js';
import { diskUse } from './disk-use.js';
import { START_MS, TAKE_OVER_MS } from './figures.js';

/** The pause between writing and reading, in which a pod is killed. */
const PAUSE_MS = 2_000;
const MIB = 1024 * 1024;

interface Written {
  readonly mb: number;
  readonly mbPerSecond: number;
  readonly records: number;
  readonly where: Readonly<Record<string, string>>;
}

/** Spills more data than one pod can hold, in one copy. A dead pod loses its part, and reading reports that. */
export async function lossOfTheOnlyCopyIsReported(cluster: DemoCluster): Promise<string> {
  const { owner, victim, written, disk, last } = await spill(cluster, 60, 1);
  assert.equal(last['code'], 'SPILL_LOST', `a typed error is expected: ${JSON.stringify(last)}`);
  const { from, to, members } = last['details'] as { from: number; to: number; members: string[] };
  assert.deepEqual(members, [victim.address], 'the error must name the pod that died');
  return (
    `${owner.name} ${summary(written)}; ${inMb(disk)} on disks; ${victim.pod.name} died, and reading failed with ` +
    `SPILL_LOST: records ${from} to ${to - 1} were on ${victim.address}; ${await emptied(cluster)}`
  );
}

/** Spills data in two copies, and reads all of it after the death of a pod. */
export async function secondCopySurvives(cluster: DemoCluster): Promise<string> {
  const { owner, victim, written, disk, read, last } = await spill(cluster, 30, 2);
  assert.equal(read?.['same'], true, `all records must be read: ${JSON.stringify(last)}`);
  return (
    `${owner.name} ${summary(written)}; ${inMb(disk)} on disks; ${victim.pod.name} died, and all records were read, ` +
    `with the same hash, at ${String(read['mbPerSecond'])} MB/s; ${await emptied(cluster)}`
  );
}

/** Writes on the leader, kills the other pod that holds most of the data, and reads. */
async function spill(cluster: DemoCluster, mb: number, copies: 1 | 2) {
  const { leader: owner, followers } = await cluster.agree(START_MS);
  const others = await Promise.all(
    followers.map(async (pod) => ({ pod, address: (await pod.cluster()).self.address })),
  );
  const events: Record<string, unknown>[] = [];
  let disk = 0;
  let victim = others[0]!;
  for await (const line of owner.lines('/sos', `${mb} ${copies} ${PAUSE_MS}`)) {
    const event = JSON.parse(line) as Record<string, unknown>;
    events.push(event);
    if (event['event'] !== 'written') continue;
    disk = await diskUse(cluster.spillDirectory, pids(cluster));
    assert.ok(disk > 0 || process.platform !== 'linux', 'the disks must be in use');
    const { where } = event as unknown as Written;
    victim = others.reduce((most, other) => (served(where, other) > served(where, most) ? other : most));
    assert.ok(served(where, victim) > 0, `another pod must hold a part: ${line}`);
    await victim.pod.kill();
  }
  const written = events[0] as unknown as Written;
  assert.equal(written.mb, mb);
  return { owner, victim, written, disk, read: events.find(({ event }) => event === 'read'), last: events.at(-1)! };
}

/** The megabytes that a pod holds. */
function served(where: Written['where'], { address }: { readonly address: string }): number {
  const places = Object.entries(where).filter(([place]) => place.startsWith(`${address} `));
  return places.reduce((sum, [, size]) => sum + Number.parseFloat(size), 0);
}

async function emptied(cluster: DemoCluster): Promise<string> {
  let left = 0;
  await eventually(
    TAKE_OVER_MS,
    () => `the disks are empty again: ${left} bytes`,
    async () => (left = await diskUse(cluster.spillDirectory, pids(cluster))) === 0,
  );
  return 'then 0 MB on disks';
}

function pids(cluster: DemoCluster): number[] {
  return cluster.pods.map(({ pid }) => pid);
}

function summary({ mb, mbPerSecond, records, where }: Written): string {
  const places = Object.entries(where).map(([place, size]) => `${place} ${size}`);
  return `wrote ${records} records, ${mb} MB, at ${mbPerSecond} MB/s: ${places.join(', ')}`;
}

function inMb(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MB`;
}
