import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LogEntry } from '../../libs/hedge/src/database/log-table.js';
import { sqlite } from 'nestjs-hedge/sqlite';
import type { Acknowledged } from './appender.js';
import { Script, until } from './processes.js';

const WRITERS = 3;
const KILLS = 4;
const BATCH_SIZE = 8;
const KEY = 'key';

let folder: string;
let file: string;
let writers: Script<Acknowledged>[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-append-'));
  file = join(folder, 'hedge.db');
  writers = [];
});

afterEach(async () => {
  for (const writer of writers) await writer.kill();
  rmSync(folder, { recursive: true });
});

function start(): Script<Acknowledged> {
  const writer = new Script<Acknowledged>('./appender.ts', [file, KEY, String(BATCH_SIZE)]);
  writers.push(writer);
  return writer;
}

describe('appends by processes on one SQLite file', () => {
  it('K1 K2 are never lost once acknowledged, and are complete or absent, while writers are killed', async () => {
    for (let i = 0; i < WRITERS; i++) start();
    for (let kill = 0; kill < KILLS; kill++) {
      const victim = writers[kill] as Script<Acknowledged>;
      await until('a writer appends', 30_000, () => victim.events.length >= 5);
      await victim.kill();
      start();
    }
    for (const writer of writers) await writer.kill();
    expect(writers.map(({ complaints }) => complaints).join('')).toBe('');

    const batches = await readBatches();
    const sizes = new Set([...batches.values()].map((rows) => rows.length));
    expect(sizes).toEqual(new Set([BATCH_SIZE]));
    const acknowledged = writers.flatMap(({ events }) => events);
    expect(acknowledged.length).toBeGreaterThanOrEqual(KILLS * 5);
    for (const { batch, timestamps } of acknowledged) {
      expect(batches.get(batch)?.map(({ timestamp }) => String(timestamp))).toEqual(timestamps);
    }
    const commits = [...batches.values()].map(([first]) => first?.timestamp);
    expect(new Set(commits).size).toBe(batches.size);
  }, 120_000);
});

/** All stored rows, by batch, in the order of their ids. */
async function readBatches(): Promise<Map<string, LogEntry[]>> {
  const backend = sqlite({ file }).create({ timeoutMs: 10_000 });
  const entries = await backend.log.history(KEY, { limit: 1_000_000, order: 'oldest-first' });
  await backend.close();
  const batches = new Map<string, LogEntry[]>();
  for (const entry of entries) {
    const [batch = ''] = entry.id.split('/');
    batches.set(batch, [...(batches.get(batch) ?? []), entry]);
  }
  return batches;
}
