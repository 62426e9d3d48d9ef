import { HedgeError } from '../common/errors.js';
import type { LossReason } from '../lease/lease-contender.messages.js';

/** Causes for the losses that `LossCause` does not explain. */
const LOSS_REASONS: Readonly<Record<LossReason, string>> = {
  'renew-deadline': 'its lease could not be renewed in time',
  expired: 'its lease expired while this process stalled',
  superseded: 'the database reports another holder or token for its lease',
  resigned: 'it was released',
  unreachable: 'it was released',
  stopped: 'it was released',
};

/**
 * The reason with which the signal of a lost lock aborts.
 * @param cause the cause that `LossCause` found.
 */
export function lockLost(lock: string, reason: LossReason, cause: string | undefined): HedgeError {
  return new HedgeError('LEASE_LOST', `Lock "${lock}" is lost: ${cause ?? LOSS_REASONS[reason]}`, {
    details: { lock },
  });
}

/** @param timeoutMs how long the caller waited; absent for a single attempt. */
export function lockUnknown(lock: string, timeoutMs?: number): HedgeError {
  const within = timeoutMs === undefined ? '' : ` within ${timeoutMs} ms`;
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `Lock "${lock}" was not acquired${within}, because the database did not answer. Try again; the log has the cause.`,
    { details: { lock, timeoutMs } },
  );
}

/** @param holder the address of the holder, if it is known. */
export function lockHeld(lock: string, timeoutMs: number, holder: string | undefined): HedgeError {
  const by = holder === undefined ? '' : `: ${holder} holds it`;
  return new HedgeError(
    'DEADLINE_EXCEEDED',
    `Lock "${lock}" was not free within ${timeoutMs} ms${by}. Try again, or raise timeoutMs.`,
    { details: { lock, timeoutMs, holder }, retryable: true },
  );
}

export function podStopping(lock: string): HedgeError {
  return new HedgeError('SHUTTING_DOWN', `Lock "${lock}" cannot be held here: this pod is stopping. Use another pod.`, {
    details: { lock },
  });
}
