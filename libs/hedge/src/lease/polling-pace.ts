import type { LeaseRecord } from '../database/lease-table.js';
import type { ContenderSettings } from './lease-contender.messages.js';

/**
 * The polling interval on a driver without a shared clock. A lease expires one lease after its last observed change,
 * so the interval adds to the time without a holder after a crash.
 */
function observationMs(leaseMs: number): number {
  return Math.min(leaseMs / 8, 500);
}

/**
 * Milliseconds until a contender reads the lease again. Without a shared clock it reads often. With one it reads just
 * after the lease would expire: at most one and a half times per lease while its holder renews. The jitter keeps
 * contenders from colliding.
 *
 * @param free the lease is free now, and this contender does not campaign for it.
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

/**
 * Milliseconds until a contender reads the lease while the holder announces its renewals: when no announcement has
 * arrived for a third of the lease, or when the lease has expired.
 */
export function nextReadWhileAnnouncedMs(expiresInMs: number, { timing, random }: ContenderSettings): number {
  const jitter = random();
  return Math.min((timing.leaseMs / 3) * (1 - jitter / 8), expiresInMs + (timing.leaseMs / 16) * jitter);
}

/**
 * Monotonic time of the next renewal: a third of the lease after the start of the last one.
 * @param phaseMs of a lease that is renewed together with others: the last multiple of a third of the lease before that,
 *   plus this phase.
 */
export function renewalAt(askedAt: number, leaseMs: number, phaseMs?: number): number {
  if (phaseMs === undefined) return askedAt + leaseMs / 3;
  const periodMs = renewalPeriodMs(leaseMs);
  return Math.floor((askedAt - phaseMs + periodMs) / periodMs) * periodMs + phaseMs;
}

/** A phase for all leases of one process. It differs between processes, so that they do not all renew at once. */
export function renewalPhaseMs(leaseMs: number, random: () => number): number {
  return Math.floor(random() * renewalPeriodMs(leaseMs));
}

/** Whole milliseconds make each multiple exact, so the next one is always later. */
function renewalPeriodMs(leaseMs: number): number {
  return Math.floor(leaseMs / 3);
}
