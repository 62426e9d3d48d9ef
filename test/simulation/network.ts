import type { Random } from './random.js';
import type { World } from './world.js';

export interface NetworkFaults {
  /** Share of datagrams lost, and of frames that break their link. */
  readonly drop: number;
  /** Share of datagrams that arrive twice. */
  readonly duplicate: number;
  /** Longest delay in milliseconds; datagrams overtake each other. */
  readonly maxDelayMs: number;
}

/** The network between machines, by address. */
export class Network {
  faults: NetworkFaults = { drop: 0, duplicate: 0, maxDelayMs: 5 };
  readonly #partitions = new Map<string, number>();
  readonly #oneWay = new Set<string>();
  readonly #slow = new Map<string, number>();

  constructor(
    private readonly world: World,
    private readonly random: Random,
  ) {}

  /** Blocks both directions between the two for that time. */
  partition(a: string, b: string, ms: number): void {
    const name = pairOf(a, b);
    this.#partitions.set(name, Math.max(this.#partitions.get(name) ?? 0, this.world.now + ms));
  }

  /** Blocks one direction until it heals; the other direction stays open. */
  cutOneWay(from: string, to: string): void {
    this.#oneWay.add(`${from}>${to}`);
  }

  /** For that time messages to a machine arrive late, and those from it do not. */
  slowDown(address: string, ms: number): void {
    this.#slow.set(address, this.world.now + ms);
  }

  heal(): void {
    this.#slow.clear();
    this.#partitions.clear();
    this.#oneWay.clear();
    this.faults = { drop: 0, duplicate: 0, maxDelayMs: 5 };
  }

  separated(a: string, b: string): boolean {
    if (this.#oneWay.has(`${a}>${b}`)) return true;
    const until = this.#partitions.get(pairOf(a, b));
    return until !== undefined && this.world.now < until;
  }

  delay(to: string): number {
    const slow = (this.#slow.get(to) ?? 0) > this.world.now;
    return slow ? this.random.between(100, 1_000) : this.random.skewed(0.2, this.faults.maxDelayMs);
  }

  breaks(): boolean {
    return this.random.chance(this.faults.drop);
  }

  /** Sends a datagram that may be lost, duplicated, delayed and reordered: stricter than any link. */
  datagram(from: string, to: string, arrive: () => void): void {
    const copies = this.random.chance(this.faults.duplicate) ? 2 : 1;
    if (copies === 2) this.world.count('network: duplicated');
    for (let copy = 0; copy < copies; copy += 1) {
      if (this.separated(from, to) || this.breaks()) {
        this.world.count('network: dropped');
        continue;
      }
      this.world.after(this.delay(to), arrive);
    }
  }
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`;
}
