import * as fc from 'fast-check';
import type { SpillCreateOptions } from '../../libs/hedge/src/spill/service/spill-create-options.js';
import type { Fault, Offered } from './model.js';
import { MB } from './pods.js';

export const KB = 1024;

export interface Run {
  readonly bytes: number;
  readonly times: number;
  readonly text: boolean;
}

export interface Writing {
  readonly store: number;
  /** By a writer of its own instead of `write`. */
  readonly further: boolean;
  readonly how: 'one by one' | 'batch' | 'vector' | 'stream';
  readonly runs: readonly Run[];
}

export interface Reading {
  readonly how: 'records' | 'stream' | 'batches';
  /** A fraction of all records, from 0 to 1. */
  readonly from: number;
  readonly to: number;
  /** Leaves the read after that fraction of the range. */
  readonly leave: number;
}

/** A fault during an operation, after this many turns of the event loop. */
export type FaultDuring = { readonly turns: number; readonly fault: Fault } | undefined;

export type Step =
  | { readonly type: 'create'; readonly pod: number; readonly options: SpillCreateOptions }
  | { readonly type: 'write'; readonly writings: readonly Writing[]; readonly during: FaultDuring }
  | { readonly type: 'close'; readonly store: number; readonly during: FaultDuring }
  | {
      readonly type: 'read';
      readonly store: number;
      readonly readings: readonly Reading[];
      readonly during: FaultDuring;
    }
  | { readonly type: 'drop'; readonly store: number; readonly again: boolean }
  | { readonly type: 'join'; readonly offered: Offered }
  | { readonly type: 'fault'; readonly fault: Fault };

export interface Beginning {
  readonly delayMs: number;
  readonly pods: readonly Offered[];
  readonly stores: readonly Step[];
  readonly steps: readonly Step[];
}

const any = fc.nat(11);
const offered = fc.record({
  memory: fc.constantFrom(4 * MB, 6 * MB, 12 * MB),
  disk: fc.constantFrom(0, 0, 600 * KB, 2 * MB),
});
const options: fc.Arbitrary<SpillCreateOptions> = fc.record({
  copies: fc.constantFrom(1 as const, 1 as const, 2 as const),
  // Small, so that many frames go to other pods.
  memoryLimit: fc.constantFrom(16 * MB, 2 * MB, MB, MB),
  diskLimit: fc.constantFrom(16 * MB, MB, 0),
  compression: fc.constantFrom(...Array.from({ length: 5 }, () => 'none' as const), 'lz4' as const),
});
const run = fc.record({
  bytes: fc.oneof(
    fc.constant(0),
    fc.integer({ min: 1, max: 4 * KB }),
    fc.integer({ min: 40 * KB, max: 90 * KB }),
    // About as long as one frame, and longer than several.
    fc.integer({ min: 255 * KB, max: 257 * KB }),
    fc.integer({ min: 300 * KB, max: 900 * KB }),
  ),
  times: fc.integer({ min: 1, max: 200 }),
  text: fc.boolean(),
});
const writing: fc.Arbitrary<Writing> = fc.record({
  store: any,
  further: fc.boolean(),
  how: fc.constantFrom('one by one' as const, 'batch' as const, 'vector' as const, 'stream' as const),
  runs: fc.array(run, { minLength: 1, maxLength: 4 }),
});
export const whole = { from: 0, to: 1, leave: 1 };
const part = fc.double({ min: 0, max: 1, noNaN: true });
const reading: fc.Arbitrary<Reading> = fc
  .record({
    how: fc.constantFrom('records' as const, 'stream' as const, 'batches' as const),
    range: fc.oneof(fc.constant(whole), fc.record({ from: part, to: part, leave: fc.constantFrom(1, 1, 0.4) })),
  })
  .map(({ how, range }) => ({ how, ...range }));
const fault: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({ type: fc.constant('kill' as const), pod: any }),
  { weight: 3, arbitrary: fc.record({ type: fc.constant('cut' as const), pod: any, other: any }) },
  fc.record({ type: fc.constant('stall' as const), pod: any, ms: fc.constantFrom(1_000, 8_000) }),
  fc.record({
    type: fc.constant('disk' as const),
    pod: any,
    state: fc.constantFrom('well' as const, 'full' as const, 'dead' as const),
  }),
);
const during: fc.Arbitrary<FaultDuring> = fc.oneof(
  { weight: 1, arbitrary: fc.constant(undefined) },
  { weight: 9, arbitrary: fc.record({ turns: fc.oneof(fc.nat(12), fc.nat(60)), fault }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ type: fc.constant('create' as const), pod: any, options }) },
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant('write' as const),
      writings: fc.array(writing, { minLength: 1, maxLength: 3 }),
      during,
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('close' as const), store: any, during }) },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('read' as const),
      store: any,
      readings: fc.array(reading, { minLength: 1, maxLength: 2 }),
      during,
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('drop' as const), store: any, again: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('join' as const), offered }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('fault' as const), fault }) },
);
export const history = fc.record({
  delayMs: fc.constantFrom(0, 8),
  pods: fc.oneof(
    { weight: 1, arbitrary: fc.array(offered, { minLength: 2, maxLength: 2 }) },
    { weight: 4, arbitrary: fc.array(offered, { minLength: 3, maxLength: 4 }) },
  ),
  stores: fc.array(fc.record({ type: fc.constant('create' as const), pod: any, options }), {
    minLength: 1,
    maxLength: 3,
  }),
  steps: fc.array(step, { minLength: 8, maxLength: 20, size: 'max' }),
});
