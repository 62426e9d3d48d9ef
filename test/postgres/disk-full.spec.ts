import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { postgres } from 'nestjs-hedge/postgres';
import type { Backend } from '../../libs/hedge/src/database/backend.js';
import type { PostgresServer, PostgresServerOptions } from '../../scripts/postgres-server.js';
import { claimOf, rowOf } from '../backend/rows.js';
import { eventually, failureOf, heldBy, startServer, TIMEOUT_MS } from './target.js';

/** A folder with a file system of its own, or undefined where this user may not mount one. */
function mountDisk(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'hedge-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96m,mode=0711,uid=65534', 'hedge', folder], { stdio: 'ignore' });
    return folder;
  } catch {
    rmSync(folder, { recursive: true });
    return undefined;
  }
}

function unmount(folder: string): void {
  execFileSync('umount', [folder]);
  rmSync(folder, { recursive: true });
}

/** Writes a file until the disk is full. */
function fillDisk(file: string): void {
  const chunk = Buffer.alloc(1 << 16);
  const target = openSync(file, 'w');
  try {
    for (;;) writeSync(target, chunk);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  } finally {
    closeSync(target);
  }
}

const probe = mountDisk();
if (probe !== undefined) unmount(probe);
const withDisk = probe === undefined ? it.skip : it;

describe(`a disk that is full${probe === undefined ? ' (this user may not mount one)' : ''}`, () => {
  let disk: string;
  let server: PostgresServer | undefined;
  let backend: Backend;

  beforeEach(() => {
    disk = mountDisk()!;
  });

  afterEach(async () => {
    try {
      await backend.close();
      await server?.stop();
    } finally {
      unmount(disk);
    }
  });

  /** @returns the ids of the acknowledged rows, and the failure of the last one. */
  async function appendUntilItFails(key: string, fence: { lease: string; token: bigint }) {
    const acknowledged: string[] = [];
    for (;;) {
      const row = rowOf(key, randomBytes(200_000).toString('base64'));
      const failure = await failureOf(backend.log.append([row], fence));
      if (failure !== undefined) return { acknowledged, failure };
      acknowledged.push(row.id);
    }
  }

  withDisk.each<[string, (folder: string) => PostgresServerOptions, boolean]>([
    ['that of the tables: K1 L1 it fails writes, and renewals go on', (folder) => ({ folder }), true],
    [
      'that of its write-ahead log: K1 L1 the server crashes, and loses nothing acknowledged',
      (folder) => ({ walFolder: join(folder, 'wal') }),
      false,
    ],
  ])('%s', async (_, options, survives) => {
    server = await startServer(options(disk));
    backend = postgres({ connectionString: server.url() }).create({ timeoutMs: TIMEOUT_MS });
    const lease = await heldBy(backend, claimOf());
    const fence = { lease: lease.name, token: lease.token };
    const key = randomUUID();
    fillDisk(join(disk, 'filler'));
    const { acknowledged, failure } = await appendUntilItFails(key, fence);
    expect(failure).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    if (survives) {
      expect(failure).toMatchObject({ details: { sqlState: '53100' } });
      expect(await backend.lease.renew(lease)).toEqual({ renewed: true });
    } else {
      expect(acknowledged.length).toBeGreaterThan(0);
    }
    rmSync(join(disk, 'filler'));
    const late = rowOf(key, 'late');
    await eventually(async () => {
      // It may have tried to recover while the disk was full, and given up.
      if (!server!.isRunning) await server!.start();
      await backend.log.append([late], fence);
    });
    expect(await eventually(() => backend.lease.renew(lease))).toEqual({ renewed: true });
    const entries = await backend.log.history(key, { limit: 999, order: 'oldest-first' });
    expect(entries.map(({ id }) => id)).toEqual(expect.arrayContaining([...acknowledged, late.id]));
  });
});
