import { HedgeError } from '../common/errors.js';
import { bytesPayload, NO_PAYLOAD, type Encoded, type RequestHandler } from '../messaging/message.js';
import type { RequestType } from '../messaging/request-type.js';
import { RequestKind } from '../wire/hedge/v1/link.js';

/** Asks the leader to step down. The payload is its token as digits, so that the request cannot end a later term. */
export const RESIGN: RequestType = {
  kind: RequestKind.REQUEST_KIND_RESIGN,
  name: 'resign',
  runsAt: 'leader',
  duringDrain: 'refused',
  slots: 'resignations',
  mayUseReserve: false,
};

export function resignPayload(token: bigint): Encoded {
  return bytesPayload(Buffer.from(String(token)));
}

/** Replies before the leader steps down, because its drain waits for running requests. */
export function resignHandler(
  elector: { resign(): Promise<void> },
  logger: { log(message: string): void },
): RequestHandler {
  return async ({ payload, epoch, caller }) => {
    const asked = Buffer.from(payload.bytes).toString();
    if (asked !== String(epoch)) {
      throw new HedgeError(
        'CONFLICT',
        `The leader did not step down: the request is for the leader with token ${asked}, and this leader has token ${epoch}. Look who leads, and ask again.`,
      );
    }
    logger.log(`Stepping down, as ${caller.address || `client ${caller.incarnation}`} asked`);
    void elector.resign();
    return NO_PAYLOAD;
  };
}
