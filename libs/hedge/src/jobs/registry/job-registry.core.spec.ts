import { beforeEach, describe, expect, it } from '@jest/globals';
import { JobRegistry } from './job-registry.core.js';
import type { RegistryEffect, RegistryInput } from './job-registry.messages.js';
import { decodeRegistryRow, encodeRegistryRow, type JobChange, type RegistryRow } from './registry-row.js';

const T0 = 1_700_000_000_000;

/** One pod with the core, a database that answers at once by default, and schedulers that are held at once by default. */
class Bench {
  now = T0;
  answers = true;
  holds = true;
  /** The database refuses each row with a change of this job. */
  refuses: string | undefined;
  /** It has written the refused row once, and the answer was lost. */
  wroteRefused = false;
  readonly pending: RegistryEffect[] = [];
  readonly seen: string[] = [];
  readonly registry = new JobRegistry({ pod: () => 'a:1', retryMs: 100 });
  #tickets = 0;

  constructor(readonly rows: RegistryRow[] = []) {}

  step(input: RegistryInput): void {
    for (const effect of this.registry.step(input, { mono: this.now, wall: this.now })) this.#perform(effect);
  }

  #perform(effect: RegistryEffect): void {
    if (effect.type === 'settle') this.seen.push(`${effect.ticket} ${effect.outcome}`);
    if (effect.type === 'start') this.seen.push(`start ${this.#describe()}`);
    if (effect.type === 'apply') this.seen.push(`apply ${effect.names.join()}: ${this.#describe()}`);
    if (effect.type === 'hold' && this.holds) this.step({ type: 'held', name: effect.name });
    if ((effect.type === 'load' || effect.type === 'write') && this.answers) this.answer(effect);
    else if (effect.type !== 'wake') this.pending.push(effect);
  }

  answer(effect: RegistryEffect): void {
    if (effect.type === 'load') this.step({ type: 'loaded', call: effect.call, row: this.rows.at(-1) });
    if (effect.type !== 'write') return;
    const refused = effect.row.changes.some(({ name }) => name === this.refuses);
    if (!refused || this.wroteRefused) this.rows.push(effect.row);
    this.step(
      refused ? { type: 'refused', call: effect.call, problem: 'too large' } : { type: 'written', call: effect.call },
    );
  }

  /** The paused jobs. */
  #describe(): string {
    return [...this.registry.records].flatMap(([name, { paused }]) => (paused === undefined ? [] : [name])).join();
  }

  elect(token = 1n): this {
    this.step({ type: 'elected', token });
    return this;
  }

  ask(type: 'pause' | 'resume' | 'remove', name = 'j', by = 'ann'): this {
    return this.change({ type, name, by, reason: 'x' });
  }

  change(change: JobChange): this {
    this.#tickets += 1;
    this.step({ type: 'request', ticket: this.#tickets, change });
    return this;
  }

  calls(type: 'load' | 'write'): RegistryEffect[] {
    return this.pending.filter((effect) => effect.type === type);
  }
}

function add(everyMs: number): JobChange {
  return { type: 'add', name: 'k', by: 'ann', definition: { handler: 'h', everyMs } };
}

describe('job registry', () => {
  let pod: Bench;
  beforeEach(() => {
    pod = new Bench();
  });

  it('starts the jobs of a term when it has read the pauses', () => {
    pod.answers = false;
    pod.elect();
    expect(pod.seen).toEqual([]);
    pod.answer(pod.pending[0]!);
    expect(pod.seen).toEqual(['start ']);
    const next = new Bench(new Bench().elect().ask('pause').rows).elect(2n);
    expect(next.seen).toEqual(['start j']);
  });

  it('answers a change when it is durable, and then the schedulers follow it', () => {
    pod.elect().ask('pause');
    expect(pod.seen.slice(1)).toEqual(['apply j: j', '1 done']);
    expect(pod.rows).toMatchObject([{ token: 1n, number: 1, pod: 'a:1', changes: [{ type: 'pause', by: 'ann' }] }]);
    pod.now += 5_000;
    pod.ask('resume');
    expect(pod.seen.slice(3)).toEqual(['apply j: ', '2 done']);
    expect(pod.rows.at(-1)?.records.get('j')).toEqual({ resumedAt: T0 + 5_000 });
  });

  it('J5: writes a pause only when the scheduler of the job is held', () => {
    pod.holds = false;
    pod.elect().ask('pause', 'j').ask('pause', 'k').ask('resume', 'i');
    expect(pod.rows).toEqual([]);
    pod.step({ type: 'held', name: 'j' });
    pod.step({ type: 'held', name: 'k' });
    expect(pod.rows.map(({ changes }) => changes.map(({ name }) => name).join())).toEqual(['j', 'k,i']);
    expect(pod.seen.slice(1)).toEqual(['apply j: j', '1 done', 'apply k,i: j,k', '2 done', '3 done']);
  });

  it('J5: writes a new definition only when the scheduler of the job is held', () => {
    pod.holds = false;
    pod.elect().change(add(1_000));
    expect(pod.rows).toEqual([]);
    pod.step({ type: 'held', name: 'k' });
    expect(pod.rows).toHaveLength(1);
  });

  it('answers a change whose row is refused, and makes the changes beside and after it', () => {
    pod.answers = false;
    pod.elect();
    pod.refuses = 'c';
    for (const name of ['a', 'b', 'c', 'd', 'e']) pod.ask('pause', name);
    pod.answers = true;
    pod.answer(pod.pending[0]!);
    pod.ask('resume', 'a');
    expect(pod.seen.filter((line) => /^\d/.test(line)).sort()).toEqual([
      '1 done',
      '2 done',
      '3 refused',
      '4 done',
      '5 done',
      '6 done',
    ]);
    expect([...pod.registry.records].filter(([, { paused }]) => paused).map(([name]) => name)).toEqual(['b', 'd', 'e']);
    expect(new Set(pod.rows.map(({ number }) => number)).size).toBe(pod.rows.length);
    // The scheduler of the refused job runs on.
    expect(pod.seen.filter((line) => line.includes('apply') && line.includes('c'))).not.toEqual([]);
  });

  it('finds that a refused row was written by an earlier attempt', () => {
    pod.elect();
    pod.refuses = 'j';
    pod.wroteRefused = true;
    pod.ask('pause');
    expect(pod.seen.slice(1)).toEqual(['apply j: j', '1 done']);
    expect(pod.rows).toHaveLength(1);
  });

  it('keeps who paused a job first, and the last resumption', () => {
    pod.elect().ask('pause', 'j', 'ann').ask('pause', 'j', 'bob');
    expect(pod.rows.at(-1)?.records.get('j')).toEqual({ paused: { at: T0, by: 'ann', reason: 'x' } });
    pod.ask('resume').ask('resume');
    expect(pod.seen.filter((line) => line.endsWith('done'))).toHaveLength(4);
  });

  it('keeps the begin and the pause of an added job when it changes, and neither after its removal', () => {
    pod.elect().change(add(1_000)).ask('pause', 'k');
    pod.now += 5_000;
    pod.change(add(2_000));
    expect(pod.rows.at(-1)?.records.get('k')).toMatchObject({
      paused: { at: T0 },
      added: { at: T0, definition: { everyMs: 2_000 } },
    });
    pod.ask('remove', 'k');
    expect(pod.rows.at(-1)?.records.size).toBe(0);
    pod.change(add(2_000));
    expect(pod.rows.at(-1)?.records.get('k')).toEqual({
      added: { at: T0 + 5_000, by: 'ann', definition: { handler: 'h', everyMs: 2_000 } },
    });
  });

  it('repeats a row with the same content after an unknown outcome, and reads again after a conflict', () => {
    pod.elect();
    pod.answers = false;
    pod.ask('pause');
    const [write] = pod.calls('write');
    if (write?.type !== 'write') throw new Error('no write');
    pod.step({ type: 'call-failed', call: write.call, random: 0 });
    pod.now += 1_000;
    pod.step({ type: 'tick' });
    const again = pod.calls('write')[1];
    if (again?.type !== 'write') throw new Error('no write');
    expect(again.row).toBe(write.row);
    pod.step({ type: 'conflict', call: again.call, random: 0 });
    pod.answers = true;
    pod.now += 1_000;
    pod.step({ type: 'tick' });
    expect(pod.rows).toMatchObject([{ number: 2 }]);
    expect(pod.seen.at(-1)).toBe('1 done');
  });

  it('refuses changes without a term, and those that wait when a term ends', () => {
    pod.ask('pause').elect();
    pod.answers = false;
    pod.ask('pause').ask('resume');
    pod.step({ type: 'deposed', token: 1n });
    expect(pod.seen).toEqual(['1 not-leading', 'start ', '2 not-leading', '3 not-leading']);
    expect(pod.registry.records.size).toBe(0);
  });

  it('starts no job when the term is handed over before the pauses are read', () => {
    pod.answers = false;
    pod.elect();
    pod.step({ type: 'draining', token: 1n });
    pod.answer(pod.pending[0]!);
    expect(pod.seen).toEqual([]);
  });

  it('keeps fields of a later version in its rows', () => {
    const { rows } = new Bench().elect().ask('pause');
    const row = encodeRegistryRow(rows[0]!).replace('},"name":"j"', '},"colour":"red","name":"j"');
    const next = new Bench([decodeRegistryRow({ key: 'k', id: 'i', value: row })]).elect(2n).ask('resume');
    expect(encodeRegistryRow(next.rows.at(-1)!)).toContain('"colour":"red"');
  });

  it('reports a row that it cannot read', () => {
    expect(() => decodeRegistryRow({ key: 'k', id: 'i', value: '{}' })).toThrow(/No job runs until the row is deleted/);
  });
});
