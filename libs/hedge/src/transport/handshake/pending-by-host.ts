import { isIPv6 } from 'node:net';

export interface PendingLimits {
  readonly perHost: number;
  /** Limit over all hosts. */
  readonly total: number;
  /** The time that each item may stay at least, in milliseconds. */
  readonly graceMs: number;
}

/** Limits of unauthenticated peers: a whole group may join at once, and appear as one host behind a proxy. */
export const MAX_UNAUTHENTICATED: PendingLimits = { perHost: 256, total: 384, graceMs: 1_000 };

/**
 * The items that unauthenticated peers hold, bounded for each host and in total. When a limit is reached, the oldest item
 * of the host that holds the most is displaced. A host that holds less displaces it at once. Any other host displaces it
 * only after the time of an honest handshake, and is refused until then. So a flooding host displaces only its own items,
 * and cannot make this process start over all the time. Pure.
 */
export class PendingByHost<T> {
  /** The items of each host, the oldest first. */
  readonly #hosts = new Map<string, { readonly items: Map<T, { weight: number; since: number }>; weight: number }>();
  #weight = 0;

  constructor(private readonly limits: PendingLimits) {}

  /**
   * @param now in milliseconds, never going back.
   * @param weight in the unit of the limits.
   * @returns whether the item was added, and the items that it displaced.
   */
  add(
    host: string,
    item: T,
    now: number,
    weight = 1,
  ): { readonly admitted: boolean; readonly displaced: readonly T[] } {
    const displaced: T[] = [];
    const { perHost, total, graceMs } = this.limits;
    const crowded = (): string | undefined => {
      if (this.#weightOf(host) + weight > perHost) return host;
      return this.#weight + weight > total ? this.#heaviest() : undefined;
    };
    for (let from = crowded(); from !== undefined; from = crowded()) {
      const [oldest] = this.#hosts.get(from)?.items ?? [];
      if (oldest === undefined) return { admitted: false, displaced };
      const unfair = this.#weightOf(from) > this.#weightOf(host) + weight;
      if (!unfair && now - oldest[1].since < graceMs) return { admitted: false, displaced };
      this.delete(from, oldest[0]);
      displaced.push(oldest[0]);
    }
    const held = this.#hosts.get(host) ?? { items: new Map<T, { weight: number; since: number }>(), weight: 0 };
    this.#hosts.set(host, held);
    held.items.set(item, { weight, since: now });
    held.weight += weight;
    this.#weight += weight;
    return { admitted: true, displaced };
  }

  delete(host: string, item: T): void {
    const held = this.#hosts.get(host);
    const kept = held?.items.get(item);
    if (held === undefined || kept === undefined) return;
    held.items.delete(item);
    held.weight -= kept.weight;
    this.#weight -= kept.weight;
    if (held.items.size === 0) this.#hosts.delete(host);
  }

  *[Symbol.iterator](): Generator<T, void> {
    for (const { items } of this.#hosts.values()) yield* items.keys();
  }

  #weightOf(host: string): number {
    return this.#hosts.get(host)?.weight ?? 0;
  }

  #heaviest(): string {
    let found = '';
    for (const [host, { weight }] of this.#hosts) if (weight > this.#weightOf(found)) found = host;
    return found;
  }
}

/**
 * The host of `address:port` for limits and logs. One machine can call from a whole /64 of IPv6 addresses, so that counts
 * as one host.
 */
export function hostOf(remote: string): string {
  const address = remote.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  return isIPv6(address) ? `${network64(address)}::/64` : address;
}

function network64(address: string): string {
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? [];
  const groups = head === '' ? [] : head.split(':');
  const end = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - groups.length - end.length);
  return [...groups, ...Array.from({ length: zeros }, () => '0'), ...end]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
