/** What GET /jobs answers, as far as it is read here. */
export interface LedgerEntry {
  readonly event: string;
  readonly fireTime: string;
  readonly lastFireTime: string;
  readonly attempt: number;
}

/** A run that a pod's log told of: the witness beside the ledger. */
export interface Run {
  readonly fireTime: string;
  readonly attempt: number;
}

export interface Account {
  readonly firings: number;
  readonly done: number;
  readonly failed: number;
  readonly lost: number;
  /** Runs of firings whose first one was lost. */
  readonly again: number;
  /** Passed over, with an entry that says so. */
  readonly passedOver: number;
}

/**
 * Compares what the pods ran with the job's ledger: every nominal time has entries, and no run happened twice.
 *
 * @param entries the whole ledger, in any order.
 * @throws Error that names the firing that was lost, doubled or not recorded.
 */
export function account(entries: readonly LedgerEntry[], runs: readonly Run[], everyMs: number): Account {
  const told = new Map<number, string[]>();
  for (const { event, fireTime, lastFireTime, attempt } of entries) {
    if (event === 'scheduled') continue;
    for (let time = Date.parse(fireTime); time <= Date.parse(lastFireTime); time += everyMs) {
      told.set(time, [...(told.get(time) ?? []), `${event} ${attempt}`]);
    }
  }
  const times = [...told.keys()].sort((a, b) => a - b);
  for (let n = 1; n < times.length; n += 1) {
    const expected = times[n - 1]! + everyMs;
    if (times[n] !== expected) throw new Error(`Nothing is recorded of the firing of ${text(expected)}`);
  }
  for (const [time, events] of told) {
    if (new Set(events).size !== events.length) throw new Error(`${text(time)} is recorded twice: ${events.join()}`);
    const open = events.find((event) => event.startsWith('claimed') && !events.some((other) => ends(other, event)));
    if (open !== undefined && time !== times.at(-1)) throw new Error(`${text(time)} was claimed and has no outcome`);
    if (events.includes('done 2') && !events.includes('lost 1')) throw new Error(`${text(time)} ran again for nothing`);
  }
  const seen = new Set<string>();
  for (const { fireTime, attempt } of runs) {
    const run = `${fireTime} ${attempt}`;
    if (seen.has(run)) throw new Error(`The firing of ${fireTime} ran twice as attempt ${attempt}`);
    if (!told.get(Date.parse(fireTime))?.includes(`claimed ${attempt}`)) throw new Error(`${run} ran without a claim`);
    seen.add(run);
  }
  const all = [...told.values()].flat();
  const count = (...events: string[]): number => all.filter((event) => events.includes(event)).length;
  return {
    firings: times.length,
    done: count('done 1', 'done 2'),
    failed: count('failed 1', 'failed 2'),
    lost: count('lost 1', 'lost 2'),
    again: count('claimed 2'),
    passedOver: count('missed 0', 'skipped 0'),
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
