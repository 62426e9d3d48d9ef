import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { bytesPayload, NO_PAYLOAD, type Encoded, type OutgoingRequest } from '../messaging/message.js';
import type { RequestType } from '../messaging/request-type.js';
import { RequestKind } from '../wire/hedge/v1/link.js';
import {
  PermitAcquire,
  PermitAcquired,
  PermitRelease,
  PermitRenewal,
  PermitsRenewed,
  SemaphoreResize,
} from '../wire/hedge/v1/semaphore.js';
import { assertLimit, assertName, assertPermits } from './semaphore-arguments.js';
import type { PermitClaim, SemaphoreOutcome } from './server/semaphore-queue.messages.js';

export const ACQUIRE: RequestType = {
  kind: RequestKind.REQUEST_KIND_SEMAPHORE_ACQUIRE,
  name: 'semaphore_acquire',
  runsAt: 'leader',
  duringDrain: 'refused',
  slots: 'acquires',
  mayUseReserve: true,
};

/**
 * Accepted until the leader releases the lease, as is a renewal: no permit of the group is lost because handlers drain
 * for long. Such a handler may also need a release to end.
 */
export const RELEASE: RequestType = {
  kind: RequestKind.REQUEST_KIND_SEMAPHORE_RELEASE,
  name: 'semaphore_release',
  runsAt: 'leader',
  duringDrain: 'accepted',
  slots: 'releases',
  mayUseReserve: true,
};

/** Its slots are not those of releases, because a release waits for the database. */
export const RENEW: RequestType = {
  kind: RequestKind.REQUEST_KIND_SEMAPHORE_RENEW,
  name: 'semaphore_renew',
  runsAt: 'leader',
  duringDrain: 'accepted',
  slots: 'renewals',
  mayUseReserve: true,
};

const RESIZE: RequestType = {
  kind: RequestKind.REQUEST_KIND_SEMAPHORE_RESIZE,
  name: 'semaphore_resize',
  runsAt: 'leader',
  duringDrain: 'refused',
  slots: 'releases',
  mayUseReserve: true,
};

/** All types of requests that the leader serves. */
export const SEMAPHORE_REQUESTS: readonly RequestType[] = [ACQUIRE, RELEASE, RENEW, RESIZE];

/** A request to the leader, without its timeout and signal. */
export type SemaphoreRequest = Pick<OutgoingRequest, 'to' | 'type' | 'topic' | 'name' | 'payload'>;

export function acquireRequest(acquire: PermitAcquire): SemaphoreRequest {
  const bytes = PermitAcquire.encode(acquire).finish();
  return request(ACQUIRE, `semaphore "${acquire.name}"`, bytes);
}

export function releaseRequest(name: string, id: string): SemaphoreRequest {
  const bytes = PermitRelease.encode({ name, id }).finish();
  return request(RELEASE, `release semaphore "${name}"`, bytes);
}

export function renewRequest(ids: ReadonlyMap<string, readonly string[]>): SemaphoreRequest {
  const semaphores = Array.from(ids, ([name, own]) => ({ name, ids: [...own] }));
  const bytes = PermitRenewal.encode({ semaphores }).finish();
  return request(RENEW, 'renew permits', bytes);
}

export function resizeRequest(name: string, limit: number): SemaphoreRequest {
  const bytes = SemaphoreResize.encode({ name, limit }).finish();
  return request(RESIZE, `resize semaphore "${name}"`, bytes);
}

export function acquiredOf({ bytes }: Encoded): PermitAcquired {
  return PermitAcquired.decode(bytes);
}

export function renewedOf({ bytes }: Encoded): PermitsRenewed {
  return PermitsRenewed.decode(bytes);
}

// The leader validates requests again, because the caller may run another version of this library.

/** @param timeoutMs the remaining time of the request on arrival. The caller has waited for the rest of its time. */
export function decodeAcquire(bytes: Uint8Array, holder: MemberId, timeoutMs: number): PermitClaim & { name: string } {
  const { name, id, permits, limit, wait, timeoutMs: allowedMs } = decoded(() => PermitAcquire.decode(bytes));
  assertName(name);
  assertId(id);
  assertLimit(name, limit);
  assertPermits(name, permits, limit);
  return { name, id, holder, permits, limit, wait, waitedMs: Math.max(0, allowedMs - timeoutMs) };
}

export function decodeRelease(bytes: Uint8Array): PermitRelease {
  const release = decoded(() => PermitRelease.decode(bytes));
  assertName(release.name);
  assertId(release.id);
  return release;
}

export function decodeRenewal(bytes: Uint8Array): ReadonlyMap<string, readonly string[]> {
  const { semaphores } = decoded(() => PermitRenewal.decode(bytes));
  for (const { name } of semaphores) assertName(name);
  return new Map(semaphores.map(({ name, ids }) => [name, ids]));
}

export function decodeResize(bytes: Uint8Array): SemaphoreResize {
  const resize = decoded(() => SemaphoreResize.decode(bytes));
  assertName(resize.name);
  assertLimit(resize.name, resize.limit);
  return resize;
}

export function replyOf(outcome: SemaphoreOutcome): Encoded {
  if (outcome.type === 'done') return NO_PAYLOAD;
  if (outcome.type === 'renewed')
    return bytesPayload(PermitsRenewed.encode({ unknown: [...outcome.unknown] }).finish());
  const { token: fencingToken, permitMs } = outcome.type === 'granted' ? outcome : { token: 0n, permitMs: 0 };
  return bytesPayload(PermitAcquired.encode({ granted: outcome.type === 'granted', fencingToken, permitMs }).finish());
}

function request(type: RequestType, name: string, bytes: Uint8Array): SemaphoreRequest {
  return { to: 'leader', type, topic: '', name, payload: bytesPayload(bytes) };
}

function assertId(id: string): void {
  if (id !== '') return;
  throw new HedgeError('INVALID_ARGUMENT', 'A request for a permit has no id. Update the calling pod.');
}

function decoded<Message>(decode: () => Message): Message {
  try {
    return decode();
  } catch (cause) {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      'A request for a semaphore could not be decoded. Update the calling pod.',
      { cause },
    );
  }
}
