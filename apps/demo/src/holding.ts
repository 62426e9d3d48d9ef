import type { Logger } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';

/** Interval at which the holder calls `isValid`, in milliseconds. */
const CHECK_MS = 50;

/** A permit or a lock. */
export interface Held {
  readonly fencingToken: bigint;
  isValid(): boolean;
  release(): Promise<void>;
}

export interface Holding {
  /** For the log and the response. */
  readonly name: string;
  readonly pod: string;
  readonly holdMs: number;
  /** Ends the hold early. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/**
 * Waits for a permit or a lock, holds it for a time and releases it. Yields a line of JSON at the beginning and at the end of
 * the hold, with the clock of the pod. Between the two, the permit or lock was valid for the holder.
 */
export async function* hold(acquire: () => Promise<Held>, holding: Holding): AsyncGenerator<string, void> {
  const { name, pod, holdMs, signal, logger } = holding;
  const asked = Date.now();
  logger.log(`${name}: waiting`);
  const held = await acquire();
  const from = Date.now();
  const token = held.fencingToken.toString();
  try {
    logger.log(`${name}: acquired with token ${token}`);
    yield JSON.stringify({ event: 'held', name, pod, token, waitedMs: from - asked, at: from });
    let to = from;
    for (;;) {
      const now = Date.now();
      if (!held.isValid()) break;
      to = now;
      if (to - from >= holdMs || signal.aborted) break;
      await delay(Math.min(CHECK_MS, holdMs - (to - from)));
    }
    const event = held.isValid() ? 'released' : 'lost';
    await held.release();
    logger.log(`${name}: ${event} after ${to - from} ms`);
    yield JSON.stringify({ event, name, pod, token, heldMs: to - from, at: to });
  } finally {
    await held.release();
  }
}
