import { Cluster } from '../cluster.js';
import { compete, type Contestant } from '../compete.js';
import { withNestGrpc } from '../floors.js';
import type { Plan } from '../options.js';
import type { Row } from '../statistics.js';

/** `broadcast` from a follower to a decorated handler on three members, including itself. */
export function broadcastSuite(plan: Plan): Promise<Row[]> {
  return withNestGrpc((nestGrpc) =>
    Cluster.run(3, async (cluster) => {
      const follower = await cluster.follower();
      const broadcast: Contestant['run'] = (shape) => follower.ask('run', { operation: 'broadcast', ...shape });
      return compete(
        [
          { name: 'nest-grpc-unary', concurrency: 16, run: nestGrpc },
          { name: 'broadcast', concurrency: 16, run: broadcast },
        ],
        plan,
      );
    }),
  );
}
