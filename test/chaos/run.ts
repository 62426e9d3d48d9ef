import { eventually } from '../e2e/pods.js';
import type { Leadership } from '../e2e/protocol.js';
import { linearize } from '../kv/linearizability.js';
import { FAULTS } from './faults.js';
import { Load } from './load.js';
import type { World } from './world.js';

/** A group that has not recovered after this time has failed, in milliseconds. */
const RECOVERY_MS = 60_000;
/** Calls that end during each fault and after it. */
const CALLS = 12;

export interface Figures {
  readonly puts: number;
  readonly acknowledged: number;
  readonly gets: number;
  /** From the end of the fault until all pods agree on a leader. */
  readonly recoveryMs: number;
}

/**
 * One fault of the database, while all pods put, delete and get.
 * @param holdMs how long it lasts; by default until no pod leads or, if one may lead, for a number of calls.
 * @throws Error when the values of a key are not linearizable, or when the group does not recover.
 */
export async function runFault(world: World, name: string, phase: string, holdMs?: number): Promise<Figures> {
  const fault = FAULTS[name]!;
  for (const pod of world.pods) await pod.call('watch', `${phase}/`);
  const load = new Load(world.pods, phase);
  const calls = async () => {
    const { calls: before } = load;
    await eventually(`${CALLS} calls`, async () => load.calls >= before + CALLS || undefined, RECOVERY_MS);
  };
  let healed = 0;
  try {
    await calls();
    const heal = await fault.inject(world);
    try {
      if (holdMs !== undefined) await new Promise((resolve) => setTimeout(resolve, holdMs));
      else if (fault.endsLeadership === undefined) await calls();
      else await eventually('the end of leadership', async () => ((await world.leader()) ? undefined : true));
    } finally {
      await heal();
      healed = performance.now();
    }
    await world.agree();
  } finally {
    await load.stop();
  }
  const recoveryMs = performance.now() - healed;
  for (const key of load.keys) {
    for (const pod of world.pods) await eventually(`get ${key}`, async () => (await load.get(pod, key)) || undefined);
  }
  const operations = load.histories.flatMap((history) => {
    if (linearize(history) === undefined) {
      throw new Error(`K1 K2 K4 K5: a history is not linearizable: ${JSON.stringify(history)}`);
    }
    return history;
  });
  await checkWatches(world, load.keys);
  const puts = operations.filter(({ wrote }) => Object.keys(wrote).length > 0);
  return {
    puts: puts.length,
    acknowledged: puts.filter(({ returned }) => returned < Infinity).length,
    gets: operations.length - puts.length,
    recoveryMs: Math.round(recoveryMs),
  };
}

/** @throws Error when a watch does not yield each version once, in the order of commits, also those of failed puts (W1). */
async function checkWatches(world: World, keys: readonly string[]): Promise<void> {
  for (const pod of world.pods) {
    const seen = await eventually('the watch of a pod yields all versions', async () => {
      const watched = await pod.call('watched');
      return watched.length >= (await pod.call('stored', keys)).length ? watched : undefined;
    });
    const stored = await pod.call('stored', keys);
    if (seen.join('\n') === stored.join('\n')) continue;
    throw new Error(`W1: the watch yields ${JSON.stringify(seen)}, and stored is ${JSON.stringify(stored)}`);
  }
}

/**
 * Checks L1 and L2 by the clock of the machine: the terms of all pods, in the order of their tokens, do not overlap.
 * @returns the number of terms.
 * @throws Error that names two terms that overlap.
 */
export async function checkTerms(world: World): Promise<number> {
  const terms = (await Promise.all(world.pods.map((pod) => pod.call('terms')))).flat();
  return countTerms(terms);
}

/** @throws Error, as `checkTerms`. */
export function countTerms(terms: readonly Leadership[]): number {
  const sorted = [...terms].sort((a, b) => Number(a.token - b.token));
  sorted.slice(1).forEach((term, index) => {
    const before = sorted[index]!;
    if (term.token > before.token && term.from >= before.until) return;
    throw new Error(
      `L2: the term with token ${term.token} began at ${term.from}, before ${before.until}, when the term with token ${before.token} had not ended`,
    );
  });
  return sorted.length;
}

/** @throws Error when a pod has more sessions at the server than it may have, or none. */
export async function checkSessions(world: World): Promise<void> {
  for (const member of world.members) {
    const { application, connections } = member;
    await eventually(`1 to ${connections} sessions of ${application}`, async () => {
      const { length } = await world.sessionsOf(member);
      return (length > 0 && length <= connections) || undefined;
    });
  }
}
