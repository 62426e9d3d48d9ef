import { RequestKind } from '../../wire/hedge/v1/link.js';

/**
 * What requests are for. Each class has slots and bytes of its own, so that users' handlers that do not end, or callers
 * that wait for permits, never keep puts, renewals and releases out.
 */
export type TrafficClass = 'handlers' | 'puts' | 'acquires' | 'releases' | 'renewals';

const TRAFFIC_CLASSES: readonly TrafficClass[] = ['handlers', 'puts', 'acquires', 'releases', 'renewals'];

/** One value for each class. */
export function byClass<Value>(make: (traffic: TrafficClass) => Value): Readonly<Record<TrafficClass, Value>> {
  return Object.fromEntries(TRAFFIC_CLASSES.map((traffic) => [traffic, make(traffic)])) as Record<TrafficClass, Value>;
}

export function trafficClassOf(kind: RequestKind): TrafficClass {
  switch (kind) {
    case RequestKind.REQUEST_KIND_KV_PUT:
      return 'puts';
    case RequestKind.REQUEST_KIND_SEMAPHORE_ACQUIRE:
      return 'acquires';
    case RequestKind.REQUEST_KIND_SEMAPHORE_RELEASE:
    case RequestKind.REQUEST_KIND_SEMAPHORE_RESIZE:
      return 'releases';
    // Apart from releases, which wait for the database.
    case RequestKind.REQUEST_KIND_SEMAPHORE_RENEW:
    case RequestKind.REQUEST_KIND_SPILL_RENEWAL:
    case RequestKind.REQUEST_KIND_SPILL_PULL:
      return 'renewals';
    case RequestKind.REQUEST_KIND_LEADER_MESSAGE:
    case RequestKind.REQUEST_KIND_BROADCAST:
    case RequestKind.REQUEST_KIND_UNSPECIFIED:
    case RequestKind.UNRECOGNIZED:
    default:
      return 'handlers';
  }
}
