import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as sleep } from 'node:timers/promises';
import { startServer } from '../postgres/target.js';
import { ARENAS, type Arena } from './arenas.js';
import type { Belief } from './contender.js';
import { Script, until } from './processes.js';

const LEASE_MS = 300;
const CONTENDERS = 4;
const KILLS = 3;
/** The pause between two kills. */
const HANDOVERS = 3;

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

/** The number of acquisitions, and the last holder: the one with the greatest token so far. */
function taken(): { times: number; leader: Script<Belief> | undefined } {
  const holders = new Map(contenders.flatMap((contender) => contender.events.map(({ token }) => [token, contender])));
  const last = [...holders.keys()].reduce((best, token) => (BigInt(token) > BigInt(best) ? token : best), '0');
  return { times: holders.size, leader: holders.get(last) };
}

/** Shuts the server down at once and starts it, or stops its processes for longer than a lease, again and again. */
async function failingPostgres(): Promise<Arena> {
  const server = await startServer();
  const closed = new AbortController();
  const failing = (async () => {
    while (!closed.signal.aborted) {
      await sleep(3 * LEASE_MS);
      await server.kill('SIGQUIT');
      await server.start();
      await sleep(3 * LEASE_MS);
      server.pause();
      await sleep(1.5 * LEASE_MS);
      server.resume();
    }
  })();
  const close = async () => {
    closed.abort();
    await failing;
    await server.stop();
  };
  return { database: server.url(), close };
}

const PLACES: typeof ARENAS = { ...ARENAS, 'on PostgreSQL, whose server is restarted and paused': failingPostgres };

describe('one lease among processes', () => {
  it.each(Object.keys(PLACES))(
    'L1 L4 %s is held by one at a time, with rising tokens, while holders are killed',
    async (where) => {
      arena = await PLACES[where]!();
      for (let i = 0; i < CONTENDERS; i++) start();
      await until('each has had it once', 60_000, () => contenders.every(({ events }) => events.length > 0));
      for (let kill = 0; kill <= KILLS; kill++) {
        const { times } = taken();
        await until('the lease changes hands', 30_000, () => taken().times >= times + HANDOVERS);
        if (kill === KILLS) break;
        await taken().leader?.kill();
        start();
      }
      for (const contender of contenders) await contender.kill();

      expect(contenders.map(({ complaints }) => complaints).join('')).toBe('');
      const terms = termsOf(contenders.flatMap(({ events }) => events));
      expect(terms.length).toBeGreaterThan(KILLS * HANDOVERS);
      // On a busy machine, an answer may come when the lease that it gave has ended: nobody ever used that token.
      const used = terms.filter(({ from, until }) => from < until);
      used.slice(1).forEach((term, i) => {
        const before = used[i] as BelievedTerm;
        expect(term.token).toBeGreaterThan(before.token);
        // A process that acquires it again stops using the old token before the call.
        if (term.incarnation !== before.incarnation) expect(term.from).toBeGreaterThanOrEqual(before.until);
      });
    },
    120_000,
  );
});

interface BelievedTerm {
  readonly token: bigint;
  readonly incarnation: string;
  readonly from: number;
  readonly until: number;
}

/** The last reported validity for each token, in the order of time. */
function termsOf(beliefs: readonly Belief[]): BelievedTerm[] {
  const terms = new Map<string, BelievedTerm>();
  for (const { token, ...belief } of beliefs) {
    expect(belief.incarnation).toBe(terms.get(token)?.incarnation ?? belief.incarnation);
    terms.set(token, { token: BigInt(token), ...belief });
  }
  return [...terms.values()].sort((a, b) => a.from - b.from);
}
