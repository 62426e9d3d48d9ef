// A member in a separate process. It counts the requests that it receives, and answers every heartbeat with the count as
// its version.
import { memberTransport } from './member-transport.js';

const transport = memberTransport(Number(process.argv[2]));
let requests = 0;
transport.attach(
  {
    frame(link, body) {
      if (body.$case === 'request') requests += 1;
      else
        link.send({
          $case: 'heartbeat',
          value: {
            epoch: 1n,
            version: requests,
            spill: undefined,
            acceptsChanges: true,
            capacityEdition: 0,
            candidate: undefined,
          },
        });
    },
    acknowledged: () => undefined,
    opened: () => undefined,
    closed: () => process.send?.('closed'),
  },
  { outstandingAt: () => [], resume: () => false },
);
// Only the channel to the test keeps this process alive: it ends with the test.
process.on('disconnect', () => process.exit());
await transport.listen();
process.send?.(transport.self.address);
