import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { FAULTS } from './faults.js';
import { checkSessions, checkTerms, countTerms, runFault } from './run.js';
import { World } from './world.js';

/** Each takes a few seconds. `npm run chaos` runs all of them, in random order, for longer. */
const SHORT = [
  'the server is killed',
  'the server stands still',
  'one session of the leader stands still',
  'the server reads only',
  'all connections of the server are in use',
  'PgBouncer is killed',
  'the network of the leader is silent',
  'the application uses its whole pool',
] satisfies (keyof typeof FAULTS)[];

const term = (token: number, from: number, until: number) => ({ token: BigInt(token), from, until });

let world: World;

beforeAll(async () => {
  world = await World.start();
});

afterAll(() => world.close());

describe('three pods on PostgreSQL', () => {
  it.each(SHORT)('K1 K2 K4 K5 recover with linearizable values when %s', async (name) => {
    const { acknowledged } = await runFault(world, name, name);
    expect(acknowledged).toBeGreaterThan(0);
  });

  it('L1 L2 never had two leaders at a time', async () => {
    expect(await checkTerms(world)).toBeGreaterThan(1);
  });

  it('have no more sessions than before the faults', () => checkSessions(world));
});

describe('the check of terms', () => {
  it('finds two leaders at a time, and a token that falls', () => {
    expect(countTerms([term(2, 20, 30), term(1, 0, 20)])).toBe(2);
    expect(() => countTerms([term(1, 0, 21), term(2, 20, 30)])).toThrow('L2');
    expect(() => countTerms([term(2, 0, 10), term(1, 20, 30)])).toThrow('L2');
    expect(() => countTerms([term(1, 0, 10), term(1, 20, 30)])).toThrow('L2');
  });
});
