import { answer } from './child.js';
import { MESSAGE, type LoadShape } from './load.js';
import { runRawLinkClient } from './raw-link-floor.js';
import { roundOf } from './statistics.js';

const commands = {
  run: async ({ concurrency, seconds }: LoadShape) => {
    const { ops, latencies } = await runRawLinkClient(Number(process.env['BENCH_PORT']), {
      concurrency,
      seconds,
      payloadBytes: MESSAGE.length,
    });
    return { ...roundOf(latencies, seconds), opsPerSecond: ops / seconds };
  },
};
export type RawLinkCommands = typeof commands;
answer(commands);
