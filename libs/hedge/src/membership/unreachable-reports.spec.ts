import { describe, expect, it } from '@jest/globals';
import type { Link } from '../transport/transport.js';
import { UnreachableReports } from './unreachable-reports.js';

describe('the report of an unreachable leader', () => {
  it('is not started again while silent members are still dialled', async () => {
    const self = { address: 'self:1', incarnation: 'self' };
    const others = ['a', 'b'].map((incarnation) => ({ address: `${incarnation}:1`, incarnation }));
    const dials: ((error: Error) => void)[] = [];
    const written: string[] = [];
    const reports = new UnreachableReports({
      group: 'g',
      transport: {
        self,
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
    const first = reports.write(1n, others);
    await Promise.resolve();
    await expect(reports.write(1n, others)).resolves.toBeUndefined();
    expect(dials).toHaveLength(2);
    for (const fail of dials) fail(new Error('no answer'));
    await expect(first).resolves.toEqual({ type: 'reported', epoch: 1n });
    expect(written).toHaveLength(1);
    dials.splice(0);
    const next = reports.write(2n, others);
    await new Promise(setImmediate);
    for (const fail of dials) fail(new Error('no answer'));
    await expect(next).resolves.toEqual({ type: 'reported', epoch: 2n });
  });
});
