import { describe, expect, it } from '@jest/globals';
import { jobKey } from '../../row-names.js';
import type { Clock } from '../../../common/clock.js';
import { VirtualClock } from '../../../testing/virtual-clock.js';
import type { ClientSource, SpannerRequest } from './client.js';
import { Connection } from './connection.js';
import { SpannerLogTable } from '../log-table.js';
import type { CommitRequest, ReadBound, StatementRequest } from './protocol.js';
import { SpannerRpc } from './rpc.js';

const TABLES = { lockTable: 'locktable', logTable: 'logtable' };
const TIMEOUT_MS = 1_000;
const ROW = { key: 'k', id: 'i', value: 'v', leader: 'l' };

const SESSION = { name: 'session' };
const BEGUN = { rows: [], metadata: { transaction: { id: Uint8Array.of(1) } } };
const COMMITTED = { commitTimestamp: { seconds: 7, nanos: 5 } };
const FOUND = {
  ...BEGUN,
  rows: [{ values: ['k', 'i', 'v', '1970-01-01T00:00:07.000000005Z'].map((stringValue) => ({ stringValue })) }],
};

function grpcError(code: number, message: string): Error {
  return Object.assign(new Error(message), { code });
}

type Answer = object | (() => Promise<object>);
type Callback = (error: Error | null, response?: unknown) => void;

/** Answers each method with its next answer, and repeats the last one. */
class ScriptedSpanner implements ClientSource {
  readonly name = 'projects/p/instances/i/databases/d';
  readonly sent: SpannerRequest[] = [];

  constructor(private readonly script: Record<string, Answer[]>) {}

  load(): void {}

  async connect() {
    return {
      formattedName_: this.name,
      request: (config: SpannerRequest, callback: Callback) => void this.#answer(config, callback),
      requestStream: () => {
        throw new Error('nothing is streamed here');
      },
    };
  }

  async close(): Promise<void> {}

  async #answer(config: SpannerRequest, callback: Callback): Promise<void> {
    this.sent.push(config);
    const answers = this.script[config.method] ?? [{}];
    const next = answers.length > 1 ? answers.shift() : answers[0];
    const answer = typeof next === 'function' ? await (next as () => Promise<object>)() : next;
    if (answer instanceof Error) callback(answer);
    else callback(null, answer);
  }

  methods(): string[] {
    return this.sent.map(({ method }) => method);
  }
}

function logOf(spanner: ClientSource, clock: Clock = new VirtualClock(), bound: ReadBound = { strong: true }) {
  return new SpannerLogTable(new Connection(new SpannerRpc(spanner), TIMEOUT_MS, clock), TABLES, bound);
}

describe('an overwrite that has certainly not happened', () => {
  it.each([
    ['in time', 0],
    ['a little early, as timers do', 0.5],
  ])('K1 is not committed after a late answer, when the timer fired %s', async (_when, earlyMs) => {
    const clock = new VirtualClock();
    const early: Clock = { now: () => clock.now(), after: (ms, run) => clock.after(ms - earlyMs, run) };
    const waiting: ((result: object) => void)[] = [];
    const late = () => new Promise<object>((resolve) => waiting.push(resolve));
    const spanner = new ScriptedSpanner({ createSession: [SESSION], read: [late], commit: [COMMITTED] });
    const overwrite = logOf(spanner, early).overwrite(ROW);
    const failed = expect(overwrite).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    await clock.advanceAsync(TIMEOUT_MS - earlyMs);
    await failed;
    for (const answer of waiting) answer(BEGUN);
    await clock.advanceAsync(0);
    expect(spanner.methods()).toEqual(['createSession', 'read', 'rollback']);
  });
});

describe('a commit', () => {
  it('K1 whose answer was lost stays in doubt, whatever the next attempt finds', async () => {
    const spanner = new ScriptedSpanner({
      createSession: [SESSION],
      read: [BEGUN, grpcError(9, 'no')],
      commit: [grpcError(14, 'gone')],
    });
    await expect(logOf(spanner).append([ROW])).rejects.toMatchObject({ code: 'BACKEND_UNAVAILABLE', retryable: true });
  });

  it('that finds rows written since its read is retried, and reads them', async () => {
    const spanner = new ScriptedSpanner({
      createSession: [SESSION],
      read: [BEGUN, FOUND],
      commit: [grpcError(6, 'Row [k,i] in table logtable already exists')],
    });
    expect(await logOf(spanner).append([ROW])).toEqual([{ timestamp: 7_000_000_005n }]);
  });

  it('is sent again with the token that Spanner requests', async () => {
    const token = { precommitToken: Uint8Array.of(9), seqNum: 2 };
    const spanner = new ScriptedSpanner({
      createSession: [SESSION],
      read: [{ ...BEGUN, precommitToken: { precommitToken: Uint8Array.of(8), seqNum: 1 } }],
      commit: [{ precommitToken: token }, COMMITTED],
    });
    expect(await logOf(spanner).append([ROW])).toEqual([{ timestamp: 7_000_000_005n }]);
    const commits = spanner.sent.filter(({ method }) => method === 'commit');
    expect(commits.map(({ reqOpts }) => (reqOpts as CommitRequest).precommitToken?.seqNum)).toEqual([1, 2]);
  });
});

describe('with maxStalenessMs', () => {
  const LEADER = 'x-goog-spanner-route-to-leader';
  const stale = { maxStaleness: { seconds: 9, nanos: 0 } };

  it.each([
    ['a user’s key is read from any replica', 'k', stale, false],
    ['what this library keeps for itself is read as of now', jobKey('g', 'j'), { strong: true }, true],
  ])('%s', async (_what, key, readOnly, toLeader) => {
    const spanner = new ScriptedSpanner({ createSession: [SESSION], executeSql: [{ rows: [] }] });
    await logOf(spanner, new VirtualClock(), stale).latest(key);
    const [{ reqOpts, headers }] = spanner.sent.slice(1) as [SpannerRequest];
    expect((reqOpts as StatementRequest).transaction).toEqual({ singleUse: { readOnly } });
    expect(LEADER in headers).toBe(toLeader);
  });
});
