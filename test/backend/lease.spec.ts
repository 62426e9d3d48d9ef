import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ARENAS, type Arena } from './arenas.js';
import type { Belief } from './contender.js';
import { Script, until } from './processes.js';

const LEASE_MS = 300;
const CONTENDERS = 4;
const KILLS = 5;

let arena: Arena;
let contenders: Script<Belief>[];

beforeEach(() => {
  contenders = [];
});

afterEach(async () => {
  for (const contender of contenders) await contender.kill();
  await arena.close();
});

function start(): Script<Belief> {
  const contender = new Script<Belief>('./contender.ts', [arena.database, 'lease', String(LEASE_MS)]);
  contenders.push(contender);
  return contender;
}

/** The holder of the greatest token so far. */
function leader(): { contender: Script<Belief>; token: bigint } | undefined {
  return contenders
    .flatMap((contender) => contender.events.map(({ token }) => ({ contender, token: BigInt(token) })))
    .reduce<{ contender: Script<Belief>; token: bigint } | undefined>(
      (best, next) => (best === undefined || next.token > best.token ? next : best),
      undefined,
    );
}

describe('one lease among processes', () => {
  it.each(Object.keys(ARENAS))(
    'L1 L4 %s is held by one at a time, with rising tokens, while holders are killed',
    async (where) => {
      arena = await (ARENAS[where] as () => Promise<Arena>)();
      for (let i = 0; i < CONTENDERS; i++) start();
      for (let kill = 0; kill < KILLS; kill++) {
        const last = leader()?.token ?? 0n;
        await until('the lease changes hands', 30_000, () => (leader()?.token ?? 0n) > last);
        await leader()?.contender.kill();
        start();
      }
      const last = leader()?.token ?? 0n;
      await until('the lease changes hands after the last kill', 30_000, () => (leader()?.token ?? 0n) > last);
      for (const contender of contenders) await contender.kill();

      expect(contenders.map(({ complaints }) => complaints).join('')).toBe('');
      const terms = termsOf(contenders.flatMap(({ events }) => events));
      expect(terms.length).toBeGreaterThan(KILLS);
      terms.slice(1).forEach((term, i) => {
        const before = terms[i] as Term;
        expect(term.token).toBeGreaterThan(before.token);
        expect(term.from).toBeGreaterThanOrEqual(before.until);
      });
    },
    120_000,
  );
});

interface Term {
  readonly token: bigint;
  readonly incarnations: ReadonlySet<string>;
  readonly from: number;
  readonly until: number;
}

/** What each token's holder believed last, in the order of time. */
function termsOf(beliefs: readonly Belief[]): Term[] {
  const terms = new Map<string, Term>();
  for (const { token, incarnation, from, until } of beliefs) {
    const incarnations = new Set(terms.get(token)?.incarnations).add(incarnation);
    expect(incarnations.size).toBe(1);
    terms.set(token, { token: BigInt(token), incarnations, from, until });
  }
  return [...terms.values()].sort((a, b) => a.from - b.from);
}
