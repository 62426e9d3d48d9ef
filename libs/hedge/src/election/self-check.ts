import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { HedgeError, messageOf } from '../common/errors.js';
import type { Transport } from '../transport/transport.js';

/**
 * Checks that others that dial the advertised address reach this process: opens and closes a link to itself.
 * @throws Error with the cause and the fix, when they do not
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
        `it cannot reach itself at its own address ${address}, because it has no file descriptors left. Raise the limit (\`ulimit -n\`, LimitNOFILE=), or look for a leak: ls -l /proc/${process.pid}/fd`,
        { cause: error },
      );
    }
    if (other === undefined) {
      throw new Error(
        `it cannot reach itself at its own address ${address}: ${messageOf(error)}. Set \`address\` to an address that the other pods can dial`,
        { cause: error },
      );
    }
    throw new Error(
      `another process answers at its own address ${address}: two pods have one address. Give each pod its own: set the variable POD_IP from status.podIP, or \`address\``,
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
