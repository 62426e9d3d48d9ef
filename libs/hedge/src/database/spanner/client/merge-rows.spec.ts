import { describe, expect, it } from '@jest/globals';
import { mergeRows } from './merge-rows.js';
import type { PartialResultSet } from './protocol.js';

function message(values: (string | null)[], chunkedValue = false, width = 0): PartialResultSet {
  return {
    values: values.map((value) => (value === null ? { nullValue: 'NULL_VALUE' } : { stringValue: value })),
    chunkedValue,
    ...(width > 0 && { metadata: { rowType: { fields: Array.from({ length: width }, () => ({})) } } }),
  };
}

describe('mergeRows', () => {
  it('finds no rows in an empty result', () => {
    expect(mergeRows([])).toEqual([]);
    expect(mergeRows([message([], false, 2)])).toEqual([]);
  });

  it('joins rows that continue in the next message', () => {
    const messages = [message(['a', '1', 'b'], false, 2), message(['2', 'c', null]), message([])];
    expect(mergeRows(messages)).toEqual([
      ['a', '1'],
      ['b', '2'],
      ['c', null],
    ]);
  });

  it('joins a text that is split into three, with an empty message in between', () => {
    const messages = [message(['key', 'val'], true, 2), message(['u'], true), message([]), message(['e', 'k2', 'v2'])];
    expect(mergeRows(messages)).toEqual([
      ['key', 'value'],
      ['k2', 'v2'],
    ]);
  });

  it('does not join separate texts that follow each other', () => {
    expect(mergeRows([message(['a'], false, 1), message(['b'])])).toEqual([['a'], ['b']]);
  });
});
