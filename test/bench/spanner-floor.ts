import { randomUUID } from 'node:crypto';
import { Spanner } from '@google-cloud/spanner';
import { answer } from './child.js';
import { MESSAGE, runLoad, type LoadShape } from './load.js';

/** Google's client alone, without Hedge, on the log table. */
const [, projectId = '', , instance = '', , name = ''] = (process.env['BENCH_SPANNER'] ?? '').split('/');
const database = new Spanner({ projectId, disableBuiltInMetrics: true }).instance(instance).database(name);
const table = database.table('logtable');

const KEYS = 1_000;
let count = 0;
const nextKey = (): string => `floor/${(count += 1) % KEYS}`;

const commands = {
  /** Commits each row separately, in one call. */
  insert: (shape: LoadShape) =>
    runLoad(
      () =>
        table.insert({
          key: nextKey(),
          id: randomUUID(),
          value: MESSAGE,
          leader: '127.0.0.1:7400',
          timestamp: Spanner.COMMIT_TIMESTAMP,
        }),
      shape,
    ),
};
export type SpannerFloorCommands = typeof commands;
answer(commands);
