import { beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../common/errors.js';
import type { LogTable } from '../../database/log-table.js';
import { memory } from '../../database/memory/index.js';
import type { LeaderRoute } from '../../messaging/leader-route.js';
import type { Encoded, IncomingRequest, OutgoingRequest } from '../../messaging/message.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { WatchAnnouncer } from './watch-announcer.runner.js';
import { WatchHub } from './watch-hub.runner.js';
import { WatchReader } from './watch-reader.core.js';

/** The time of a message on its way. */
const WAY_MS = 30.3;
const START = { timestamp: 0n, id: '', key: '' };

let clock: VirtualClock;
let log: LogTable;
let leader: WatchAnnouncer;
let hub: WatchHub;
let questions: number;
/** A leader that is not silent answers. */
let silent: boolean;
let delivered: string[];
let warnings: string[];

beforeEach(() => {
  clock = new VirtualClock();
  log = memory({ clock }).create({ timeoutMs: 1_000 }).log;
  leader = new WatchAnnouncer('leader', clock);
  questions = 0;
  silent = false;
  delivered = [];
  warnings = [];
  const member = { address: 'pod:1', incarnation: 'leader' };
  const route: Pick<LeaderRoute, 'current' | 'onChange'> = {
    current: () => ({ leader: member, epoch: 1n, self: false }),
    onChange: () => () => undefined,
  };
  hub = new WatchHub({ log, clock, route, request, random: () => 1, warn: (message) => warnings.push(message) });
});

function request({ payload, signal, timeoutMs }: OutgoingRequest): Promise<Encoded> {
  questions += 1;
  return new Promise((resolve, reject) => {
    const fail = (): void => reject(new Error('gave up'));
    signal?.addEventListener('abort', fail);
    clock.after(timeoutMs, fail);
    const answer = (reply: Encoded): void => void clock.after(WAY_MS, () => resolve(reply));
    if (!silent) clock.after(WAY_MS, () => leader.handle({ payload, signal } as IncomingRequest, answer));
  });
}

/** Watches one key, and reads each entry at once. */
function watch(key: string): void {
  const open = hub.open({ prefix: key, exact: true }, new WatchReader(START), (entry) => {
    delivered.push(entry.value);
    open.want();
  });
  open.want();
}

async function write(key: string, value: string): Promise<void> {
  await log.append([{ key, id: value, value, leader: '' }]);
}

async function announced(key: string, value: string): Promise<void> {
  await write(key, value);
  leader.committed([key]);
}

describe('the watches of a pod', () => {
  it('read a row that no leader has announced within 10 s, also when new watches begin again and again', async () => {
    watch('k');
    await clock.advanceAsync(1_000);
    await write('k', 'x');
    for (let other = 0; other < 3; other += 1) {
      watch(`other ${other}`);
      await clock.advanceAsync(4_000);
    }
    expect(delivered).toEqual(['x']);
  });

  it('read a row that no leader has announced within 10 s, while the leader announces rows of other watches', async () => {
    watch('k');
    watch('busy');
    await clock.advanceAsync(1_000);
    await write('k', 'x');
    for (let other = 0; other < 110; other += 1) {
      leader.committed(['busy']);
      await clock.advanceAsync(100);
    }
    expect(delivered).toEqual(['x']);
  });

  it('read an announced row at once, also when new watches begin more often than the leader can answer', async () => {
    watch('k');
    await clock.advanceAsync(1_000);
    await announced('k', 'x');
    for (let other = 0; other < 30; other += 1) {
      watch(`other ${other}`);
      await clock.advanceAsync(WAY_MS / 2);
    }
    expect(delivered).toEqual(['x']);
  });

  it('miss no announced row of a watch that begins while a question is on its way', async () => {
    watch('k');
    await clock.advanceAsync(1_000);
    watch('other');
    await clock.advanceAsync(1);
    watch('late');
    await clock.advanceAsync(1);
    await announced('late', 'x');
    await clock.advanceAsync(1_000);
    expect(delivered).toEqual(['x']);
  });

  it('read at a pace of their own when the leader is silent, also when new watches begin again and again', async () => {
    watch('k');
    await clock.advanceAsync(1_000);
    silent = true;
    await write('k', 'x');
    for (let other = 0; other < 20; other += 1) {
      watch(`other ${other}`);
      await clock.advanceAsync(1_000);
    }
    expect(delivered).toEqual(['x']);
  });

  it('read fewer rows after a failure, so that a page of large values cannot stop them', async () => {
    const { changes } = log;
    const limits: number[] = [];
    log.changes = (query) => {
      limits.push(query.limit);
      return query.limit > 20 ? Promise.reject(new Error('too much for one answer')) : changes.call(log, query);
    };
    await write('k', 'x');
    await write('k', 'y');
    watch('k');
    await clock.advanceAsync(15_000);
    expect(delivered).toEqual(['x', 'y']);
    expect(limits.slice(0, 5)).toEqual([100, 50, 25, 12, 100]);
  });

  it('end with the error when the database refuses a read for good', async () => {
    const error = new HedgeError('INVALID_ARGUMENT', 'out of range');
    log.changes = () => Promise.reject(error);
    const ended: unknown[] = [];
    const scope = { prefix: 'k', exact: true };
    const end = (why?: HedgeError): void => void ended.push(why);
    const open = hub.open(scope, new WatchReader(START), () => undefined, end);
    open.want();
    await clock.advanceAsync(20_000);
    expect(ended).toEqual([error]);
  });

  it('report once that they could not read for long', async () => {
    const { changes } = log;
    log.changes = () => Promise.reject(new HedgeError('BACKEND_UNAVAILABLE', 'away'));
    watch('k');
    await clock.advanceAsync(50_000);
    expect(warnings).toEqual([]);
    await clock.advanceAsync(200_000);
    expect(warnings).toEqual([expect.stringContaining('away')]);
    log.changes = changes;
    await write('k', 'x');
    await clock.advanceAsync(20_000);
    expect(delivered).toEqual(['x']);
  });

  it('ask no new question for a key that they watch already', async () => {
    watch('k');
    await clock.advanceAsync(1_000);
    const before = questions;
    for (let other = 0; other < 5; other += 1) watch('k');
    await clock.advanceAsync(1_000);
    expect(questions).toBe(before);
    await announced('k', 'x');
    await clock.advanceAsync(1_000);
    expect(delivered).toHaveLength(6);
  });
});
