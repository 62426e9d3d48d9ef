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
/** At most this many different sets are reported. A group has one, or two during a change. */
const MAX_REPORTED = 16;

/** Reports peers that use other durations than this pod, once for each set of values. */
export class TimingComparison {
  readonly #reported = new Set<string>();

  constructor(
    private readonly own: Timing | undefined,
    private readonly warn: (line: string) => void,
  ) {}

  /** @param theirs undefined for a version that does not send them. */
  compare(peer: string, theirs: Timing | undefined): void {
    const { own } = this;
    if (own === undefined || theirs === undefined) return;
    const differences = NAMES.filter((name) => own[name] !== theirs[name]).map(
      (name) => `${name} is ${theirs[name]} there and ${own[name]} here`,
    );
    const text = differences.join(', ');
    if (text === '' || this.#reported.has(text) || this.#reported.size >= MAX_REPORTED) return;
    this.#reported.add(text);
    this.warn(
      `The pod ${peer} of this group has another \`timing\` than this pod: ${text}. The view can change all the time, and pods can misjudge a lease. Set the same \`timing\` on all pods`,
    );
  }
}
