import { EXPIRED_SUFFIX, type TransactionOutcome } from '../../libs/hedge/src/database/log-table.js';
import {
  Expiry,
  type ExpiringVersion,
  type ExpiryEffect,
  type ExpiryInput,
} from '../../libs/hedge/src/kv/expiry/expiry.core.js';
import type { PutItem } from '../../libs/hedge/src/kv/group-commit.messages.js';
import { SimulatedDatabase } from './database.js';
import type { PlantedBug } from './search.js';
import { SOUND_PARTS } from './simulate.js';

/** Takes the keys of earlier terms for old ones. */
class DeletesInheritedKeys extends Expiry {
  override step(input: ExpiryInput, now: number): readonly ExpiryEffect[] {
    if (input.type !== 'listed') return super.step(input, now);
    return super.step(
      { ...input, versions: input.versions.map((version) => ({ ...version, lifetime: { ttlMs: 1 } })) },
      now,
    );
  }
}

/** Counts from the first put of a key. */
class IgnoresRenewals extends Expiry {
  readonly #keys = new Map<string, number>();

  override step(input: ExpiryInput, now: number): readonly ExpiryEffect[] {
    if (input.type !== 'put') return super.step(input, now);
    const { key, lifetime } = input.version;
    if (!('ttlMs' in lifetime)) return super.step(input, now);
    const { ttlMs } = lifetime;
    const dueAt = Math.max(now, this.#keys.get(key) ?? now + ttlMs);
    this.#keys.set(key, dueAt);
    return super.step({ ...input, version: { ...input.version, lifetime: { ttlMs: dueAt - now } } }, now);
  }
}

/** Waits for the end of the version that it knows. */
class ForgetsPutsWithoutAnswer extends Expiry {
  readonly #known = new Set<string>();

  override step(input: ExpiryInput, now: number): readonly ExpiryEffect[] {
    if (input.type === 'elected') this.#known.clear();
    if (input.type === 'put') this.#known.add(input.version.key);
    if (input.type === 'listed') for (const { key } of input.versions) this.#known.add(key);
    return input.type === 'unsettled' && this.#known.has(input.key) ? [] : super.step(input, now);
  }
}

/** Takes each put that is answered in this term for later than those of earlier terms. */
class IgnoresListedVersions extends Expiry {
  readonly #put = new Set<string>();

  override step(input: ExpiryInput, now: number): readonly ExpiryEffect[] {
    if (input.type === 'elected') this.#put.clear();
    if (input.type === 'put') this.#put.add(input.version.key);
    if (input.type !== 'listed') return super.step(input, now);
    return super.step({ ...input, versions: input.versions.filter(({ key }) => !this.#put.has(key)) }, now);
  }
}

/** Knows the owner of a key by its address, with which each incarnation of the simulation begins. */
class KnowsOwnersByAddress extends Expiry {
  override step(input: ExpiryInput, now: number): readonly ExpiryEffect[] {
    if (input.type === 'members') return super.step({ ...input, alive: new Set([...input.alive].map(addressOf)) }, now);
    if (input.type === 'put') return super.step({ ...input, version: byAddress(input.version) }, now);
    if (input.type === 'listed') return super.step({ ...input, versions: input.versions.map(byAddress) }, now);
    if (input.type !== 'looked') return super.step(input, now);
    return super.step({ ...input, version: input.version && byAddress(input.version) }, now);
  }
}

function addressOf(incarnation: string): string {
  return incarnation.replace(/#\d+$/, '');
}

function byAddress(version: ExpiringVersion): ExpiringVersion {
  const { lifetime } = version;
  if (!('owner' in lifetime)) return version;
  const { address, incarnation } = lifetime.owner;
  return { ...version, lifetime: { owner: { address, incarnation: addressOf(incarnation) } } };
}

/** The deletion of an expired version has no condition. */
class DeletesAnyVersion extends SimulatedDatabase {
  override appendIf(transactions: readonly (readonly PutItem[])[], leader: string): TransactionOutcome[] {
    const loose = transactions.map((items) =>
      items.map(({ condition, ...item }) =>
        item.append?.id.endsWith(EXPIRED_SUFFIX) === true ? item : { ...item, condition },
      ),
    );
    return super.appendIf(loose, leader);
  }
}

/** Bugs of keys with a time to live, each with the invariants that must find it. */
export const PLANTED_EXPIRY: Readonly<Record<string, PlantedBug>> = {
  'a key deleted early by the next leader': {
    parts: { ...SOUND_PARTS, expiry: (limits) => new DeletesInheritedKeys(limits) },
    found: ['K6'],
  },
  'a key deleted although it was renewed': {
    parts: { ...SOUND_PARTS, expiry: (limits) => new IgnoresRenewals(limits) },
    found: ['K6'],
  },
  'an expired key deleted in any version': {
    parts: { ...SOUND_PARTS, database: (...made) => new DeletesAnyVersion(...made) },
    found: ['K6'],
  },
  'an expiry row written after the commit of its put': {
    parts: { ...SOUND_PARTS, expiryRows: 'after it' },
    found: ['K6'],
  },
  'an expiring put that a former leader writes late': {
    parts: { ...SOUND_PARTS, fencesExpiringPuts: false },
    found: ['K6'],
    conditions: { fault: 'pod cut off from the database' },
  },
  'an expiring put without an answer forgotten': {
    parts: { ...SOUND_PARTS, expiry: (limits) => new ForgetsPutsWithoutAnswer(limits) },
    found: ['K6'],
    conditions: { fault: 'links cut', calls: { failAfter: 0.4 } },
  },
  'the newer row of an earlier term ignored for an older put': {
    parts: { ...SOUND_PARTS, expiry: (limits) => new IgnoresListedVersions(limits) },
    found: ['K6'],
    conditions: { fault: 'caller cut off, then its leader crashes', pauseMs: 50 },
  },
  'a key of an earlier process at the same address kept': {
    parts: { ...SOUND_PARTS, expiry: (limits) => new KnowsOwnersByAddress(limits) },
    found: ['K6'],
  },
};
