/** A change of the offset of a time zone from UTC, for example at the beginning and end of daylight-saving time. */
export interface OffsetChange {
  /** The first millisecond with the new offset, since 1970. */
  readonly at: number;
  /** Offsets in milliseconds; local time is UTC plus this. */
  readonly before: number;
  readonly after: number;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** No zone has, or had, a larger offset from UTC. */
const MAX_OFFSET_MS = 16 * HOUR_MS;
/** No clocks were ever changed by more than this: a zone that crossed the date line. */
const MAX_CHANGE_MS = 25 * HOUR_MS;
/** Limit of the months whose changes are cached. Finding the changes of a month takes a tenth of a millisecond. */
const MAX_MONTHS = 200;

/**
 * The local time of a zone, from the time zone database of Node. A local time is represented as the milliseconds since 1970
 * at which a UTC clock shows the same digits, so that local times can be added and compared.
 */
export class TimeZone {
  readonly #format: Intl.DateTimeFormat;
  /** By month, counted from the year 0. */
  readonly #changes = new Map<number, readonly OffsetChange[]>();

  /** @throws RangeError for a name that is not in the IANA time zone database. */
  constructor(name: string) {
    this.#format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' });
  }

  /** The milliseconds by which the clocks of the zone are ahead of UTC. */
  offsetAt(ms: number): number {
    const text = this.#format.format(ms);
    const [, sign, hours, minutes, seconds = 0] = /GMT([+-])(\d\d):(\d\d)(?::(\d\d))?$/.exec(text) ?? [];
    if (sign === undefined) return 0;
    return (sign === '-' ? -1 : 1) * (Number(hours) * HOUR_MS + Number(minutes) * 60_000 + Number(seconds) * 1_000);
  }

  localTime(ms: number): number {
    return ms + this.offsetAt(ms);
  }

  /** The latest local time that the clocks of the zone have shown up to that instant. After they were set back, it is later than the present local time. */
  latestLocalTime(ms: number): number {
    const recent = this.changesIn(ms - MAX_CHANGE_MS, ms);
    return Math.max(this.localTime(ms), ...recent.map(({ at, before }) => at - 1 + before));
  }

  /** The first instant at which the clocks of the zone show that local time or, if it is skipped, a later one. */
  firstInstant(local: number): number {
    let from = local - MAX_OFFSET_MS;
    let offset = this.offsetAt(from);
    for (const { at, after } of this.changesIn(from, local + MAX_OFFSET_MS)) {
      if (local - offset < at) break;
      [from, offset] = [at, after];
    }
    return Math.max(from, local - offset);
  }

  /** The changes after `from`, up to and including `to`. */
  changesIn(from: number, to: number): readonly OffsetChange[] {
    const found: OffsetChange[] = [];
    for (let month = monthOf(from); month <= monthOf(to); month += 1) {
      for (const change of this.#changesOf(month)) if (change.at > from && change.at <= to) found.push(change);
    }
    return found;
  }

  /** The first change after `from`, up to and including `to`. */
  firstChange(from: number, to: number): OffsetChange | undefined {
    for (let month = monthOf(from); month <= monthOf(to); month += 1) {
      const found = this.#changesOf(month).find(({ at }) => at > from);
      if (found !== undefined) return found.at <= to ? found : undefined;
    }
    return undefined;
  }

  #changesOf(month: number): readonly OffsetChange[] {
    const known = this.#changes.get(month);
    if (known !== undefined) return known;
    if (this.#changes.size >= MAX_MONTHS) this.#changes.clear();
    const changes = this.#findChanges(startOf(month), startOf(month + 1));
    this.#changes.set(month, changes);
    return changes;
  }

  /** Checks the offset once a day, because no zone changes more often, and finds the instant by bisection. */
  #findChanges(from: number, to: number): OffsetChange[] {
    const changes: OffsetChange[] = [];
    let before = this.offsetAt(from - 1);
    for (let low = from - 1; low < to - 1;) {
      const high = Math.min(low + DAY_MS, to - 1);
      const last = this.offsetAt(high);
      if (last === before) {
        low = high;
        continue;
      }
      const at = this.#firstOther(before, low, high);
      const after = this.offsetAt(at);
      changes.push({ at, before, after });
      [low, before] = [at, after];
    }
    return changes;
  }

  /** The first instant with another offset. The offset at `low` is `offset`, the offset at `high` is not. */
  #firstOther(offset: number, low: number, high: number): number {
    while (high - low > 1) {
      const middle = low + Math.floor((high - low) / 2);
      if (this.offsetAt(middle) === offset) low = middle;
      else high = middle;
    }
    return high;
  }
}

function monthOf(ms: number): number {
  const date = new Date(ms);
  return 12 * date.getUTCFullYear() + date.getUTCMonth();
}

/** The start of a month. Unlike `Date.UTC`, correct for years before 100, too. */
function startOf(month: number): number {
  return new Date(0).setUTCFullYear(Math.floor(month / 12), month % 12, 1);
}
