/** The used part of the response to GET /jobs. */
export interface LedgerEntry {
  readonly event: string;
  readonly fireTime: string;
  readonly lastFireTime: string;
  readonly attempt: number;
  /** Set for a run that somebody asked for. */
  readonly requested?: { readonly id: string };
}

/** A run in the log of a pod: evidence independent of the ledger. */
export interface Run {
  readonly fireTime: string;
  readonly attempt: number;
}

export interface Account {
  readonly firings: number;
  readonly done: number;
  readonly failed: number;
  readonly lost: number;
  /** Second runs of firings whose first run was lost. */
  readonly again: number;
  /** Firings that did not run and have an entry `missed` or `skipped`. */
  readonly passedOver: number;
  /** Runs by request at times that are not in the timetable. A request can also run a firing that is due. */
  readonly requested: number;
}

/**
 * Compares the runs of the pods with the ledger of the job: every nominal time has entries, and no run happened twice.
 *
 * @param entries the whole ledger, in any order.
 * @throws Error that names the firing that was lost, doubled or not recorded.
 */
export function account(entries: readonly LedgerEntry[], runs: readonly Run[], everyMs: number): Account {
  const recorded = new Map<number, string[]>();
  for (const { event, fireTime, lastFireTime, attempt } of entries) {
    if (event === 'scheduled') continue;
    for (let time = Date.parse(fireTime); time <= Date.parse(lastFireTime); time += everyMs) {
      recorded.set(time, [...(recorded.get(time) ?? []), `${event} ${attempt}`]);
    }
  }
  const firing = entries.find(({ event, requested }) => event !== 'scheduled' && !requested);
  const phase = firing && Date.parse(firing.fireTime) % everyMs;
  const asked = entries.flatMap((entry) => (entry.requested ? Date.parse(entry.fireTime) : []));
  const requested = new Set(asked.filter((time) => time % everyMs !== phase));
  const times = [...recorded.keys()].filter((time) => !requested.has(time)).sort((a, b) => a - b);
  for (let n = 1; n < times.length; n += 1) {
    const expected = times[n - 1]! + everyMs;
    if (times[n] !== expected) throw new Error(`The firing of ${text(expected)} is not recorded`);
  }
  for (const [time, events] of recorded) {
    if (new Set(events).size !== events.length)
      throw new Error(`The firing of ${text(time)} is recorded twice: ${events.join()}`);
    const open = events.find((event) => event.startsWith('claimed') && !events.some((other) => ends(other, event)));
    if (open !== undefined && time !== times.at(-1))
      throw new Error(`The firing of ${text(time)} was claimed and has no outcome`);
    if (events.includes('done 2') && !events.includes('lost 1'))
      throw new Error(`The firing of ${text(time)} ran again without a reason`);
  }
  const seen = new Set<string>();
  for (const { fireTime, attempt } of runs) {
    const run = `${fireTime} ${attempt}`;
    if (seen.has(run)) throw new Error(`The firing of ${fireTime} ran twice as attempt ${attempt}`);
    if (!recorded.get(Date.parse(fireTime))?.includes(`claimed ${attempt}`))
      throw new Error(`${run} ran without a claim`);
    seen.add(run);
  }
  const all = [...recorded.values()].flat();
  const count = (...events: string[]): number => all.filter((event) => events.includes(event)).length;
  return {
    firings: times.length,
    done: count('done 1', 'done 2'),
    failed: count('failed 1', 'failed 2'),
    lost: count('lost 1', 'lost 2'),
    again: count('claimed 2'),
    passedOver: count('missed 0', 'skipped 0'),
    requested: requested.size,
  };
}

/** Whether an event is the outcome of a claim. */
function ends(event: string, claim: string): boolean {
  const attempt = claim.slice('claimed '.length);
  return [`done ${attempt}`, `failed ${attempt}`, `lost ${attempt}`].includes(event);
}

function text(time: number): string {
  return new Date(time).toISOString();
}
