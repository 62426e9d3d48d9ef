import { parseArgs } from 'node:util';

export const SUITES = [
  'send',
  'broadcast',
  'kv',
  'watch',
  'semaphore',
  'streams',
  'spill',
  'postgres',
  'spanner',
  'failover',
  'memory',
  'telemetry',
  'startup',
  'scale',
] as const;
export type SuiteName = (typeof SUITES)[number];

/** The durations and sizes of the measurements. */
export interface Plan {
  readonly rounds: number;
  readonly roundSeconds: number;
  readonly warmUpSeconds: number;
  /** How often a leader is killed, and how often one is stopped. */
  readonly failovers: number;
  readonly memoryMessages: number;
  /** Bytes that one stream carries to a slow reader. */
  readonly streamedBytes: number;
  /** The sizes of the groups of the suite `scale`. */
  readonly members: readonly number[];
}

const FULL: Plan = {
  rounds: 5,
  roundSeconds: 2,
  warmUpSeconds: 2,
  failovers: 3,
  memoryMessages: 1_000_000,
  streamedBytes: 1e9,
  members: [10, 50, 100, 200, 300],
};
const QUICK: Plan = {
  rounds: 3,
  roundSeconds: 0.5,
  warmUpSeconds: 0.5,
  failovers: 1,
  memoryMessages: 200_000,
  streamedBytes: 1e8,
  members: [10, 50],
};

export interface BenchOptions {
  readonly plan: Plan;
  readonly suites: readonly SuiteName[];
  readonly json: string | undefined;
  /** Connection string of the PostgreSQL server to measure. Default: a server of its own. */
  readonly url: string | undefined;
}

export const USAGE = `npm run bench -- [--quick] [--only ${SUITES.join('|')}] [--members 10,50,100] [--json FILE] [--url postgres://…]`;

export class UsageError extends Error {}

/** @throws UsageError for arguments that are not in USAGE */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { quick, only, members, json, url } = parse(args);
  const names = only?.flatMap((each) => each.split(','));
  for (const name of names ?? []) {
    if (!SUITES.some((suite) => suite === name)) throw new UsageError(`There is no benchmark "${name}".`);
  }
  const suites = SUITES.filter((suite) => names?.includes(suite) ?? true);
  const plan = quick ? QUICK : FULL;
  return { plan: members === undefined ? plan : { ...plan, members: sizesOf(members) }, suites, json, url };
}

function sizesOf(members: string): number[] {
  const sizes = members.split(',').map(Number);
  // Two pods are observed alone, and the others share processes.
  if (sizes.every((size) => Number.isInteger(size) && size >= 5)) return sizes;
  throw new UsageError(`--members is "${members}". Give sizes of groups of at least 5 members, such as 10,50.`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean' },
        only: { type: 'string', multiple: true },
        members: { type: 'string' },
        json: { type: 'string' },
        url: { type: 'string' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
