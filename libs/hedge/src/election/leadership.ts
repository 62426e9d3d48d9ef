import { onAbort } from '../common/async/on-abort.js';
import { abortInFreshContext, inFreshContext } from '../common/async/async-context.js';
import { backoffMs } from '../common/backoff.js';
import type { Clock } from '../common/clock.js';
import { guardedController } from '../common/async/guarded-signal.js';
import type { Logger } from '../common/line-logger.js';
import { withTokenInJson } from '../common/token-in-json.js';
import type { FencedTransactions } from '../database/fenced-transactions.js';

/**
 * One term of this pod as leader, as leader work receives it. `fence` and `transaction` fence exactly this term. It may be
 * destructured.
 */
export interface Leadership extends FencedTransactions {
  /**
   * Rises with every term of the group. Pass it to each store that the work writes to, and let the store reject a smaller
   * one: only this, or `fence`, protects against a leader that stalled and has not noticed the loss yet.
   */
  readonly fencingToken: bigint;
  /** Aborts when the lease is lost, and when the pod begins to resign or stop. */
  readonly signal: AbortSignal;
}

/** Work for the leader. It should end soon after `signal` aborts. */
export type LeaderTask = (leadership: Leadership) => unknown;

/** The part of the election that a leader task needs; implemented by `LeaderElector`. */
export interface LeadershipSource {
  /** Calls back at every election of this process, and at once if it leads now. Returns a function that unsubscribes. */
  onElected(listener: (leadership: Leadership) => void): () => void;
  /** Calls back before the lease is released, and waits for the promise. Returns a function that unsubscribes. */
  onDrain(listener: (term: { readonly fencingToken: bigint }) => Promise<void>): () => void;
}

export interface LeaderTaskOptions {
  readonly clock: Clock;
  /** For log lines. */
  readonly name: string;
  readonly logger: Pick<Logger, 'warn' | 'error'>;
  /** The pause before a failed task runs again; doubles with jitter up to `maxRetryMs`. */
  readonly retryMs: number;
  readonly maxRetryMs: number;
  readonly random?: () => number;
}

/**
 * Runs a task in every term of this process as leader. There is at most one run at a time in this process: a new term
 * waits until the run of the last one has ended. A task that throws is logged and runs again while the term lasts; a
 * task that returns does not run again in that term.
 *
 * @returns a function that stops the task: it aborts the run, waits for its end, and starts no other.
 *
 * @example
 * const stop = runWhileLeader(elector, async ({ signal }) => { while (!signal.aborted) await work(signal); }, options);
 */
export function runWhileLeader(
  source: LeadershipSource,
  task: LeaderTask,
  options: LeaderTaskOptions,
): () => Promise<void> {
  const { clock, name, logger, random = Math.random } = options;
  let next: Leadership | undefined;
  let run: { readonly scope: AbortController; readonly ended: Promise<void> } | undefined;

  const startNext = (): void => {
    if (next === undefined || run !== undefined) return;
    const leadership = next;
    next = undefined;
    if (leadership.signal.aborted) return;
    const scope = guardedController();
    const abort = (): void => abortInFreshContext(scope, leadership.signal.reason);
    const stopListening = onAbort(leadership.signal, abort);
    const { fencingToken, fence, transaction } = leadership;
    const ended = runInTerm(withTokenInJson({ fencingToken, signal: scope.signal, fence, transaction })).finally(() => {
      stopListening();
      run = undefined;
      startNext();
    });
    run = { scope, ended };
  };

  const runInTerm = async (leadership: Leadership): Promise<void> => {
    const { signal } = leadership;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        await inFreshContext(() => task(leadership));
        return;
      } catch (error) {
        if (signal.aborted) return;
        const pauseMs = Math.round(backoffMs(attempt, options.retryMs, options.maxRetryMs, random()));
        const stack = error instanceof Error ? error.stack : undefined;
        logger.error(`Leader task ${name} failed and runs again in ${pauseMs} ms: ${String(error)}`, stack, {
          event: 'task.failed',
          task: name,
        });
        await pause(clock, pauseMs, signal);
      }
    }
  };

  const stopElected = source.onElected((leadership) => {
    if (run !== undefined) logger.warn(`Leader task ${name} still runs since the last term: its next run waits`);
    next = leadership;
    startNext();
  });
  const endRun = async (reason: string): Promise<void> => {
    next = undefined;
    if (run !== undefined) abortInFreshContext(run.scope, new Error(reason));
    await run?.ended;
  };
  const stopDrain = source.onDrain(() => endRun('Leadership is being handed over'));

  return async () => {
    stopElected();
    await endRun('The leader task was stopped');
    stopDrain();
  };
}

function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      cancel();
      stopListening();
      resolve();
    };
    const cancel = clock.after(ms, end);
    const stopListening = onAbort(signal, end);
  });
}
