import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Backend } from '../database/backend.js';
import { memory } from '../database/memory/index.js';
import { HedgeError } from '../common/errors.js';
import { BackendFaults, faulty } from '../testing/faults.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { DatabaseOpener } from './database-opener.js';

describe('backend opener', () => {
  let clock: VirtualClock;
  let faults: BackendFaults;
  let lines: string[];
  let opener: DatabaseOpener;
  let opened: number;

  beforeEach(() => {
    clock = new VirtualClock();
    faults = new BackendFaults();
    lines = [];
    opened = 0;
    const note = (line: string) => void lines.push(line);
    const backend = faulty(memory(), faults).create({ timeoutMs: 100 });
    opener = new DatabaseOpener(backend, { clock, retryMs: 100, logger: { log: note, warn: note } });
  });

  /** Advances past the longest pause and the attempt that follows it. */
  async function nextTry(): Promise<void> {
    clock.advance(400);
    await new Promise(setImmediate);
  }

  it('retries until the backend answers, and logs a lasting problem once', async () => {
    faults.outage = true;
    expect(await opener.open()).toBe(false);
    opener.openLater(() => void (opened += 1));
    for (let tries = 0; tries < 5; tries += 1) await nextTry();
    expect([opened, lines.length]).toEqual([0, 1]);
    faults.outage = false;
    await nextTry();
    expect(opened).toBe(1);
    expect(lines[1]).toMatch(/answers$/);
    await nextTry();
    expect(opened).toBe(1);
  });

  it('reports an unusable backend at once, but retries later, because it may be repaired', async () => {
    const backend = unusable(() => faults.outage);
    faults.outage = true;
    const strict = new DatabaseOpener(backend, { clock, retryMs: 100, logger: { log: () => {}, warn: () => {} } });
    await expect(strict.open()).rejects.toMatchObject({ code: 'INVALID_OPTIONS' });
    strict.openLater(() => void (opened += 1));
    await nextTry();
    faults.outage = false;
    await nextTry();
    expect(opened).toBe(1);
  });

  it('stops on request, also during an attempt', async () => {
    faults.outage = true;
    opener.openLater(() => void (opened += 1));
    clock.advance(400);
    opener.stop();
    faults.outage = false;
    for (let tries = 0; tries < 3; tries += 1) await nextTry();
    expect(opened).toBe(0);
    expect(clock.nextTimerMs()).toBeUndefined();
  });
});

function unusable(broken: () => boolean): Backend {
  const backend = memory().create({ timeoutMs: 100 });
  backend.open = async () => {
    if (broken()) throw new HedgeError('INVALID_OPTIONS', 'no such table');
  };
  return backend;
}
