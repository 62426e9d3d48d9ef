import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { HedgeError, messageOf } from '../common/errors.js';
import type { Transport } from '../transport/transport.js';

/**
 * Whether others that dial the advertised address reach this very process; a link to oneself is made and
 * closed.
 * @throws Error with what to do, when they do not
 */
export async function checkSelf(transport: Pick<Transport, 'self' | 'dial'>): Promise<true> {
  const { address, incarnation } = transport.self;
  try {
    const link = await transport.dial({ address, incarnation });
    link.close();
    return true;
  } catch (error) {
    const other = error instanceof HedgeError ? error.details['incarnation'] : undefined;
    if (other === undefined && descriptorsRanOut()) {
      throw new Error(
        `it has no file descriptors left, so it cannot reach itself at its own address ${address}. Raise the limit (\`ulimit -n\`, LimitNOFILE=), or find what keeps them open: ls -l /proc/${process.pid}/fd`,
        { cause: error },
      );
    }
    if (other === undefined) {
      throw new Error(
        `it does not reach itself at its own address ${address}: ${messageOf(error)}. Set \`address\` to what the other pods can dial`,
        { cause: error },
      );
    }
    throw new Error(
      `another process answers at its own address ${address}: two pods with one address. Give each pod its own: set the variable POD_IP from status.podIP, or \`address\``,
      { cause: error },
    );
  }
}

function descriptorsRanOut(): boolean {
  try {
    closeSync(openSync(devNull, 'r'));
    return false;
  } catch (error) {
    return ['EMFILE', 'ENFILE'].includes((error as NodeJS.ErrnoException).code ?? '');
  }
}
