import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClusterService, KvStore, LeaderService } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { Pods, until } from './apps.js';

let folder: string;
let pods: Pods;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-replaced-'));
});

afterEach(async () => {
  await pods.close();
  rmSync(folder, { recursive: true });
});

describe('a SQLite file that is deleted under running pods', () => {
  it('does not prevent an election, and new pods can join', async () => {
    const file = join(folder, 'hedge.db');
    pods = new Pods({}, { backend: sqlite({ file }) });
    await pods.startThree();
    const token = pods.leader.get(LeaderService).fencingToken ?? 0n;
    for (const end of ['', '-wal', '-shm']) rmSync(file + end, { force: true });
    const leads = () => pods.apps.find((app) => app.get(LeaderService).isLeader())?.get(LeaderService);
    await until(() => (leads()?.fencingToken ?? 0n) > token, 'a leader in the new file', 30_000);
    const joined = await pods.start();
    const sizes = () => pods.apps.map((app) => app.get(ClusterService).view?.members.length);
    await until(() => sizes().every((size) => size === 4), 'four pods know each other', 30_000);
    await joined.get(KvStore).put('k', 'v');
    for (const app of pods.apps) expect((await app.get(KvStore).get('k'))?.value).toBe('v');
  }, 90_000);
});
