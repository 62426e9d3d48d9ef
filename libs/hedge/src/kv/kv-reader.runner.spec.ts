import { beforeEach, describe, expect, it } from '@jest/globals';
import type { LogEntry, LogTable } from '../database/log-table.js';
import { memory } from '../database/memory/index.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { KvReader } from './kv-reader.runner.js';

let clock: VirtualClock;
let log: LogTable;
/** The keys of each call, in the order of their beginning. */
let calls: string[];
/** A call reads at its beginning, and answers when the test says so. */
let answers: (() => void)[];
let reader: KvReader;

const get = (key: string, signal?: AbortSignal) => reader.get(key, `get "${key}"`, 1_000, signal);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function put(key: string, value: string): Promise<void> {
  await log.append([{ key, id: value, value, leader: '' }]);
}

async function answered<Answer>(keys: readonly string[], answer: Answer): Promise<Answer> {
  calls.push(keys.join());
  await new Promise<void>((resolve) => answers.push(resolve));
  return answer;
}

async function latest(key: string): Promise<LogEntry | undefined> {
  return answered([key], await log.latest(key));
}

beforeEach(() => {
  clock = new VirtualClock();
  log = memory({ clock }).create({ timeoutMs: 1_000 }).log;
  calls = [];
  answers = [];
  const latestOf = async (keys: readonly string[]) => {
    const found = new Map<string, LogEntry | undefined>();
    for (const key of keys) found.set(key, await log.latest(key));
    return answered(keys, found);
  };
  reader = new KvReader({ log: { latest, latestOf } as unknown as LogTable, clock });
});

describe('KvReader', () => {
  it('sends the gets of one turn as one call', async () => {
    await put('a', 'v');
    const gets = [get('a'), get('b'), get('a')];
    await turn();
    await turn();
    expect(calls).toEqual(['a,b']);
    answers[0]?.();
    expect((await Promise.all(gets)).map((entry) => entry?.value)).toEqual(['v', undefined, 'v']);
  });

  it('K2 answers a get with a put that was acknowledged before it, while an older read of the key is in flight', async () => {
    await put('a', 'old');
    const first = get('a');
    await turn();
    await turn();
    await put('a', 'new');
    const second = get('a');
    answers[0]?.();
    expect((await first)?.value).toBe('old');
    await turn();
    answers[1]?.();
    expect((await second)?.value).toBe('new');
    expect(calls).toEqual(['a', 'a']);
  });

  it('ends a get at its deadline and by its signal, and still answers the others of the call', async () => {
    const stop = new AbortController();
    const gets = [get('a', stop.signal), get('b')] as const;
    await turn();
    await turn();
    stop.abort('enough');
    await expect(gets[0]).rejects.toMatchObject({ code: 'CANCELLED', cause: 'enough' });
    await expect(get('c', stop.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
    answers[0]?.();
    await expect(gets[1]).resolves.toBeUndefined();
    const late = expect(get('a')).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED', retryable: true });
    clock.advance(1_000);
    await late;
  });

  it('asks a driver without latestOf for each key at once', async () => {
    reader = new KvReader({ log: { latest } as unknown as LogTable, clock });
    const gets = [get('a'), get('b')];
    await turn();
    expect(calls).toEqual(['a', 'b']);
    for (const answer of answers) answer();
    await Promise.all(gets);
  });
});
