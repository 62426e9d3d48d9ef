import { describe, expect, it } from '@jest/globals';
import type { Link } from '../transport/transport.js';
import { UnreachableReports } from './unreachable-reports.js';

const NEEDED = new AbortController().signal;

const make = () => {
  const dials: ((error: Error) => void)[] = [];
  const written: string[] = [];
  const reports = new UnreachableReports({
    group: 'g',
    transport: {
      self: { address: 'self:1', incarnation: 'self' },
      dialled: () => undefined,
      dial: () => new Promise<Link>((_, reject) => void dials.push(reject)),
    },
    log: {
      latest: async () => undefined,
      overwrite: async ({ value }) => {
        written.push(value);
        return { timestamp: 1n };
      },
    },
  });
  const failAll = (): void => dials.splice(0).forEach((fail) => fail(new Error('no answer')));
  return { reports, dials, written, failAll };
};
const members = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ address: `m${index}:1`, incarnation: `m${index}` }));

describe('the report of an unreachable leader', () => {
  it('is not started again while silent members are still dialled', async () => {
    const { reports, dials, written, failAll } = make();
    const others = members(2);
    const first = reports.write(1n, others, NEEDED);
    await Promise.resolve();
    await expect(reports.write(1n, others, NEEDED)).resolves.toBeUndefined();
    expect(dials).toHaveLength(2);
    failAll();
    await expect(first).resolves.toEqual({ type: 'reported', epoch: 1n });
    expect(written).toHaveLength(1);
    const next = reports.write(2n, others, NEEDED);
    await new Promise(setImmediate);
    failAll();
    await expect(next).resolves.toEqual({ type: 'reported', epoch: 2n });
  });

  it('is given up with its dials once a leader is there again', async () => {
    const { reports, dials, written, failAll } = make();
    const needed = new AbortController();
    const report = reports.write(1n, members(100), needed.signal);
    await new Promise(setImmediate);
    expect(dials).toHaveLength(16);
    needed.abort();
    failAll();
    await expect(report).resolves.toBeUndefined();
    expect(dials).toHaveLength(0);
    expect(written).toEqual([]);
  });
});
