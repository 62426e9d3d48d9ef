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
    if (other === undefined) {
      throw new Error(
        `it does not reach itself at its own address ${address}: ${messageOf(error)}. Set \`address\` to what the other pods can dial`,
        { cause: error },
      );
    }
    throw new Error(
      `another process answers at its own address ${address}: two pods with one address. Give each pod its own`,
      { cause: error },
    );
  }
}
