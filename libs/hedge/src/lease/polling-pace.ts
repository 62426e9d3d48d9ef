import type { LeaseRecord } from '../database/lease-table.js';
import type { ContenderSettings } from './lease-contender.messages.js';

/**
 * How often a contender looks at the lease on a driver without a shared clock. A lease runs out one lease
 * after the last change that was seen, so this adds to the time without a holder after a crash.
 */
function observationMs(leaseMs: number): number {
  return Math.min(leaseMs / 8, 500);
}

/**
 * Milliseconds until a contender looks at the lease again. Without a shared clock: often. With one: just
 * after the lease would run out, at most one and a half times per lease while its holder renews. The jitter
 * keeps contenders from colliding.
 *
 * @param free it could be taken now, and was not.
 */
export function nextReadMs(record: LeaseRecord, free: boolean, settings: ContenderSettings): number {
  const { leaseMs } = settings.timing;
  const random = settings.random();
  const jitter = (leaseMs / 16) * random;
  if (!settings.campaigns) return Math.max(leaseMs / 2, record.expiresInMs) + jitter;
  if (free) return leaseMs / 8 + jitter;
  const afterExpiry = record.expiresInMs + jitter;
  return settings.observes ? Math.min(afterExpiry, observationMs(leaseMs) * (1 - random / 4)) : afterExpiry;
}

/** Monotonic time of the next renewal: a third of the lease after the last one was asked for, or the beat before that. */
export function renewalAt(askedAt: number, { timing, renewsOnBeat }: ContenderSettings): number {
  if (!renewsOnBeat) return askedAt + timing.leaseMs / 3;
  // Whole milliseconds: a multiple of the beat is then exact, and the next one always later.
  const beatMs = Math.floor(timing.leaseMs / 3);
  return Math.floor((askedAt + beatMs) / beatMs) * beatMs;
}
