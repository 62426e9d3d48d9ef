// A whole pod in a separate process, which leads its group. Every 20 ms it checks its memory and its lease. On the message
// 'report' it sends the results since the last report.
import { SILENT } from '../../libs/hedge/src/common/line-logger.js';
import { memory } from '../../libs/hedge/src/database/memory/index.js';
import { withoutHandlers } from '../../libs/hedge/src/pod/handlers.js';
import { HedgePod } from '../../libs/hedge/src/pod/hedge-pod.js';
import { grpcTransport } from '../../libs/hedge/src/pod/transport-factory.js';
import { resolveOptions } from '../../libs/hedge/src/nest/validate.js';

export interface Report {
  readonly address: string;
  /** Resident memory in bytes, and its maximum. */
  readonly rss: number;
  readonly peak: number;
  readonly leads: boolean;
  /** The number of elections of this pod. */
  readonly terms: number;
}

const settings = resolveOptions({
  group: 'orders',
  address: '127.0.0.1:0',
  backend: memory(),
  secret: 'the secret of the group',
  timing: 'lan',
});
const runtime = new HedgePod({
  settings,
  makeTransport: grpcTransport,
  makeHandlers: withoutHandlers,
  makeLogger: () => SILENT,
});
let address = '';
const tokens = new Set<bigint>();
let peak = 0;
const look = (): number => {
  const rss = process.memoryUsage.rss();
  peak = Math.max(peak, rss);
  const token = runtime.leader.fencingToken;
  if (token !== undefined) tokens.add(token);
  return rss;
};
process.on('message', () => {
  const rss = look();
  const report: Report = { address, rss, peak, leads: runtime.leader.isLeader(), terms: tokens.size };
  peak = rss;
  process.send?.(report);
});
// Only the channel to the test keeps this process alive: it ends with the test.
process.on('disconnect', () => process.exit());
setInterval(look, 20);
await runtime.start();
address = runtime.cluster.self.address;
process.send?.('started');
