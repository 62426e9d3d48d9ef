import { beforeEach, describe, expect, it } from '@jest/globals';
import type { LogEntry, LogPlace } from '../../database/log-table.js';
import { WatchReader, type WatchEffect } from './watch-reader.core.js';

const START: LogPlace = { timestamp: 0n, id: '', key: '' };

function entry(value: string, key = 'k'): LogEntry {
  return { key, id: value, value, leader: 'l', timestamp: BigInt(value) };
}

function read(after: LogPlace): WatchEffect {
  return { type: 'read', after };
}

const wanted = { type: 'wanted' } as const;
const noticed = { type: 'noticed' } as const;
let last = START;
/** The next page of a reader that begins behind `last`. */
const page = (values: string[], more = false) => {
  const entries = values.map((value) => entry(value));
  last = entries.at(-1) ?? last;
  return { type: 'page', page: { entries, next: last, more, compactedBefore: 0n } } as const;
};
const delivered = (value: string): WatchEffect => ({ type: 'deliver', entry: entry(value) });

beforeEach(() => {
  last = START;
});

describe('the reader of a watch', () => {
  it('reads when an entry is wanted, delivers one at a time, and reads on behind the last one after a notice (W1)', () => {
    const reader = new WatchReader(START);
    expect(reader.step(noticed)).toEqual([]);
    expect(reader.step(wanted)).toEqual([read(START)]);
    expect(reader.step(page(['1', '2']))).toEqual([delivered('1')]);
    expect(reader.step(wanted)).toEqual([delivered('2')]);
    expect(reader.step(wanted)).toEqual([]);
    expect(reader.step(noticed)).toEqual([read(entry('2'))]);
    expect(reader.step(page([]))).toEqual([]);
    expect(reader.step(noticed)).toEqual([read(entry('2'))]);
    expect(reader.step(page(['3']))).toEqual([delivered('3')]);
  });

  it('reads again after a notice that came during a read, and never twice at once', () => {
    const reader = new WatchReader(START);
    reader.step(wanted);
    expect(reader.step(noticed)).toEqual([]);
    expect(reader.step(noticed)).toEqual([]);
    expect(reader.step(page([]))).toEqual([read(START)]);
    expect(reader.step(page([]))).toEqual([]);
  });

  it('holds one page, and reads the next one when all entries are taken', () => {
    const reader = new WatchReader(START);
    reader.step(wanted);
    expect(reader.step(page(['1', '2'], true))).toEqual([delivered('1')]);
    expect(reader.step(noticed)).toEqual([]);
    expect(reader.step(wanted)).toEqual([delivered('2')]);
    expect(reader.step(wanted)).toEqual([read(entry('2'))]);
  });

  it('leaves out the rows of the library, and goes on behind them', () => {
    const reader = new WatchReader(START);
    reader.step(wanted);
    const reserved = entry('5', '__hedge/job/g/x');
    expect(
      reader.step({ type: 'page', page: { entries: [reserved], next: reserved, more: true, compactedBefore: 0n } }),
    ).toEqual([read(reserved)]);
    expect(reader.step(page(['6']))).toEqual([delivered('6')]);
  });

  it('ends before the first page that may lack deleted rows, and delivers nothing of it (W1)', () => {
    const reader = new WatchReader({ timestamp: 7n, id: '', key: '' });
    reader.step(wanted);
    const entries = [entry('8'), entry('9')];
    expect(
      reader.step({ type: 'page', page: { entries, next: entries[1]!, more: true, compactedBefore: 7n } }),
    ).toEqual([delivered('8')]);
    expect(reader.step(wanted)).toEqual([delivered('9')]);
    reader.step(wanted);
    expect(reader.step({ type: 'page', page: { ...page(['12']).page, compactedBefore: 10n } })).toEqual([
      { type: 'compacted', before: 10n },
    ]);
  });

  it('tries a failed read again after a growing pause, behind the same row', () => {
    const reader = new WatchReader(START);
    reader.step(wanted);
    expect(reader.step({ type: 'failed', random: 1 })).toEqual([{ type: 'retry', afterMs: 50 }]);
    expect(reader.step(noticed)).toEqual([]);
    expect(reader.step({ type: 'retry' })).toEqual([read(START)]);
    expect(reader.step({ type: 'failed', random: 1 })).toEqual([{ type: 'retry', afterMs: 100 }]);
    reader.step({ type: 'retry' });
    expect(reader.step(page(['1']))).toEqual([delivered('1')]);
    reader.step(noticed);
    reader.step(wanted);
    expect(reader.step({ type: 'failed', random: 1 })).toEqual([{ type: 'retry', afterMs: 50 }]);
  });
});
