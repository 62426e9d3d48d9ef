// A member in a process of its own: it counts the requests that reach it, and answers every heartbeat with the
// count as its version.
import { memberTransport } from './member-transport.js';

const transport = memberTransport(Number(process.argv[2]));
let requests = 0;
transport.attach(
  {
    frame(link, body) {
      if (body.$case === 'request') requests += 1;
      else link.send({ $case: 'heartbeat', value: { epoch: 1n, version: requests, spill: undefined } });
    },
    acknowledged: () => undefined,
    opened: () => undefined,
    closed: () => process.send?.('closed'),
  },
  { outstandingAt: () => [], resume: () => false },
);
// The channel to the test is what keeps this process: without the test it ends.
process.on('disconnect', () => process.exit());
await transport.listen();
process.send?.(transport.self.address);
