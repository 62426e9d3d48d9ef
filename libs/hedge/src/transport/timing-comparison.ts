import type { Timing } from '../common/timing.js';

const NAMES: readonly (keyof Timing)[] = [
  'leaseMs',
  'marginMs',
  'renewDeadlineMs',
  'retryMs',
  'backendTimeoutMs',
  'heartbeatMs',
  'heartbeatTimeoutMs',
];
/** So many different sets of durations are told of; a group has one, or two while it changes. */
const MAX_TOLD = 16;

/** Tells of peers that run by other durations than this pod: once for each set of values, whoever has it. */
export class TimingComparison {
  private readonly told = new Set<string>();

  constructor(
    private readonly own: Timing | undefined,
    private readonly warn: (line: string) => void,
  ) {}

  /** @param theirs undefined from a version that does not say. */
  compare(peer: string, theirs: Timing | undefined): void {
    const { own } = this;
    if (own === undefined || theirs === undefined) return;
    const differences = NAMES.filter((name) => own[name] !== theirs[name]).map(
      (name) => `${name} is ${theirs[name]} there and ${own[name]} here`,
    );
    const text = differences.join(', ');
    if (text === '' || this.told.has(text) || this.told.size >= MAX_TOLD) return;
    this.told.add(text);
    this.warn(
      `The pod ${peer} of this group has another \`timing\` than this one: ${text}. Views and permits can flap, and a lease be judged wrongly: set \`timing\` alike on all pods`,
    );
  }
}
