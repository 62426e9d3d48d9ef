import { HedgeError } from '../common/errors.js';
import type { LossReason } from '../lease/lease-contender.messages.js';

/** Where `LossCause` knows nothing nearer. */
const LOSS_REASONS: Readonly<Record<LossReason, string>> = {
  'renew-deadline': 'its lease could not be renewed in time',
  expired: 'its lease ran out while this process stood still',
  superseded: 'the database says that its lease has another holder or token',
  resigned: 'it was given back',
  unreachable: 'it was given back',
  stopped: 'it was given back',
};

/**
 * What the signal of a lost lock aborts with.
 * @param cause what this process has seen, as `LossCause` tells it.
 */
export function lockLost(lock: string, reason: LossReason, cause: string | undefined): HedgeError {
  return new HedgeError('LEASE_LOST', `Lock "${lock}" is lost: ${cause ?? LOSS_REASONS[reason]}`, {
    details: { lock },
  });
}

/** @param timeoutMs how long was waited; absent when it was asked for once. */
export function lockUnknown(lock: string, timeoutMs?: number): HedgeError {
  const what = timeoutMs === undefined ? 'is free is not known' : `could be taken within ${timeoutMs} ms is not known`;
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `Whether lock "${lock}" ${what}: the database did not answer. Nothing was done under it; try again. The log says why.`,
    { details: { lock, timeoutMs } },
  );
}

/** @param holder the address of who has it, if that is known. */
export function lockHeld(lock: string, timeoutMs: number, holder: string | undefined): HedgeError {
  const by = holder === undefined ? '' : `: ${holder} has it`;
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `Lock "${lock}" was not free within ${timeoutMs} ms${by}. Nothing was done; try again, or raise timeoutMs.`,
    { details: { lock, timeoutMs, holder }, retryable: true },
  );
}

export function podStopping(lock: string): HedgeError {
  return new HedgeError('SHUTTING_DOWN', `Lock "${lock}" cannot be held here: this pod is stopping. Ask another pod.`, {
    details: { lock },
  });
}
