import type { Logger } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';

/** How often a holder asks whether it still holds, in milliseconds. */
const LOOK_MS = 50;

/** A permit or a lock. */
export interface Held {
  readonly fencingToken: bigint;
  isValid(): boolean;
  release(): Promise<void>;
}

export interface Holding {
  /** For the log and the answer. */
  readonly name: string;
  readonly pod: string;
  readonly holdMs: number;
  /** Ends the hold early. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/**
 * Waits for a permit or a lock, holds it so long and gives it back. A line of JSON when it is held and one when not
 * any more, with the pod's clock: between the two, the holder itself saw it valid.
 */
export async function* hold(acquire: () => Promise<Held>, holding: Holding): AsyncGenerator<string, void> {
  const { name, pod, holdMs, signal, logger } = holding;
  const asked = Date.now();
  logger.log(`${name}: waiting`);
  const held = await acquire();
  const from = Date.now();
  const token = held.fencingToken.toString();
  try {
    logger.log(`${name}: got it with token ${token}`);
    yield JSON.stringify({ event: 'held', name, pod, token, waitedMs: from - asked, at: from });
    let to = from;
    for (;;) {
      const now = Date.now();
      if (!held.isValid()) break;
      to = now;
      if (to - from >= holdMs || signal.aborted) break;
      await delay(Math.min(LOOK_MS, holdMs - (to - from)));
    }
    const event = held.isValid() ? 'released' : 'lost';
    await held.release();
    logger.log(`${name}: ${event} after ${to - from} ms`);
    yield JSON.stringify({ event, name, pod, token, heldMs: to - from, at: to });
  } finally {
    await held.release();
  }
}
