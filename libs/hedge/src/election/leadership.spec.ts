import { beforeEach, describe, expect, it } from '@jest/globals';
import type { FencedTransactions } from '../database/fenced-transactions.js';
import { VirtualClock } from '../testing/virtual-clock.js';
import { runWhileLeader, type Leadership, type LeadershipSource } from './leadership.js';

const fenced: FencedTransactions = {
  fence: () => Promise.resolve(),
  transaction: () => Promise.reject(new Error('no test begins one')),
};

class Source implements LeadershipSource {
  #elected: ((leadership: Leadership) => void) | undefined;
  #drain: ((term: { fencingToken: bigint }) => Promise<void>) | undefined;
  #term = new AbortController();

  onElected(listener: (leadership: Leadership) => void): () => void {
    this.#elected = listener;
    return () => (this.#elected = undefined);
  }
  onDrain(listener: (term: { fencingToken: bigint }) => Promise<void>): () => void {
    this.#drain = listener;
    return () => (this.#drain = undefined);
  }
  win(fencingToken: bigint): void {
    this.#term = new AbortController();
    this.#elected?.({ ...fenced, fencingToken, signal: this.#term.signal });
  }
  lose(): void {
    this.#term.abort(new Error('lost'));
  }
  drain(fencingToken: bigint): Promise<void> | undefined {
    return this.#drain?.({ fencingToken });
  }
}

describe('runWhileLeader', () => {
  let clock: VirtualClock;
  let source: Source;
  let warnings: string[];
  let errors: [message: string, stack: unknown][];
  let runs: { leadership: Leadership; end: (error?: Error) => void }[];
  let stop: () => Promise<void>;

  const settle = (): Promise<void> => clock.advanceAsync(0);

  beforeEach(() => {
    clock = new VirtualClock();
    source = new Source();
    warnings = [];
    errors = [];
    runs = [];
    const task = (leadership: Leadership): Promise<void> =>
      new Promise((resolve, reject) => {
        runs.push({ leadership, end: (error) => (error === undefined ? resolve() : reject(error)) });
      });
    stop = runWhileLeader(source, task, {
      clock,
      name: 'sweep',
      logger: { warn: (line) => void warnings.push(line), error: (line, stack) => void errors.push([line, stack]) },
      retryMs: 100,
      maxRetryMs: 1_000,
      random: () => 0,
    });
  });

  it('runs the task once per term, with its token, and aborts it on loss', async () => {
    source.win(1n);
    expect(runs[0]?.leadership.fencingToken).toBe(1n);
    source.lose();
    expect(runs[0]?.leadership.signal.aborted).toBe(true);
    runs[0]?.end();
    await settle();
    source.win(2n);
    expect(runs[1]?.leadership.fencingToken).toBe(2n);
  });

  it('never runs a task twice at once: the next term waits for the run of the last one', async () => {
    source.win(1n);
    source.lose();
    source.win(2n);
    await settle();
    expect(runs).toHaveLength(1);
    expect(warnings).toEqual([expect.stringContaining('sweep still runs')]);
    runs[0]?.end(new Error('aborted'));
    await settle();
    expect(runs[1]?.leadership.fencingToken).toBe(2n);
    expect(runs[1]?.leadership.signal.aborted).toBe(false);
  });

  it('does not run a task for a term that was lost while it waited', async () => {
    source.win(1n);
    source.lose();
    source.win(2n);
    source.lose();
    runs[0]?.end();
    await settle();
    expect(runs).toHaveLength(1);
  });

  it('runs a task that throws again in the same term, after a growing pause', async () => {
    source.win(1n);
    runs[0]?.end(new Error('boom'));
    await settle();
    expect(errors).toEqual([
      [
        expect.stringMatching(/sweep failed and runs again in 50 ms: Error: boom/),
        expect.stringContaining('leadership.spec'),
      ],
    ]);
    await clock.advanceAsync(49);
    expect(runs).toHaveLength(1);
    await clock.advanceAsync(1);
    runs[1]?.end(new Error('boom'));
    await clock.advanceAsync(100);
    expect(runs).toHaveLength(3);
  });

  it('does not run a task that returned again in the same term', async () => {
    source.win(1n);
    runs[0]?.end();
    await clock.advanceAsync(60_000);
    expect(runs).toHaveLength(1);
  });

  it('a drain aborts the run and waits for its end', async () => {
    source.win(1n);
    let drained = false;
    const drain = source.drain(1n)?.then(() => (drained = true));
    expect(runs[0]?.leadership.signal.aborted).toBe(true);
    await settle();
    expect(drained).toBe(false);
    runs[0]?.end();
    await drain;
    expect(drained).toBe(true);
  });

  it('ends the run when it is stopped, also in a pause, and starts no other', async () => {
    source.win(1n);
    runs[0]?.end(new Error('boom'));
    await settle();
    await stop();
    source.win(2n);
    await clock.advanceAsync(60_000);
    expect(runs).toHaveLength(1);
    expect(clock.nextTimerMs()).toBeUndefined();
  });
});
