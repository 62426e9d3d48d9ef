import { NATS, withBroker } from '../brokers.js';
import { Cluster } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import { withNestGrpc, withRawLink, withRawLinkOfNest } from '../floors.js';
import type { Plan } from '../options.js';
import type { Row } from '../statistics.js';

/** `send` from a follower to a decorated handler on the leader, compared with its baselines. */
export function sendSuite(plan: Plan): Promise<Row[]> {
  return withNestGrpc((nestGrpc) =>
    withRawLink((rawLink) =>
      withRawLinkOfNest((rawLinkNest) =>
        withBroker(NATS, [1, 64], (nats) =>
          Cluster.run(2, async (cluster) => {
            const follower = await cluster.follower();
            const contestants = [1, 64].flatMap((concurrency): Contestant[] => [
              { name: 'nest-grpc-unary', concurrency, run: nestGrpc },
              { name: 'raw-link', concurrency, run: rawLink },
              { name: 'raw-link-nest', concurrency, run: rawLinkNest },
              { name: 'send', concurrency, run: (shape) => follower.ask('run', { operation: 'send', ...shape }) },
            ]);
            return compete([...contestants, ...nats], plan);
          }),
        ),
      ),
    ),
  );
}
