import { describe, expect, it } from '@jest/globals';
import { RowIds } from './row-ids.js';

const T = Date.UTC(2026, 0, 1);

describe('RowIds', () => {
  it('creates UUIDs of version 7 that contain the time', () => {
    const id = new RowIds().next(T);
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Number.parseInt(id.replace('-', '').slice(0, 12), 16)).toBe(T);
  });

  it('creates rising ids within a millisecond, beyond the counter, and when the clock goes back', () => {
    const ids = new RowIds();
    const times = [...Array.from({ length: 10_000 }, () => T), T - 5_000, T + 1, T + 60_000];
    const made = times.map((time) => ids.next(time));
    expect([...made].sort()).toEqual(made);
    expect(new Set(made).size).toBe(made.length);
  });

  it('creates different ids in different processes', () => {
    expect(new RowIds().next(T)).not.toBe(new RowIds().next(T));
  });
});
