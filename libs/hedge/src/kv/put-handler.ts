import { OVERWRITE_ID } from '../database/log-table.js';
import { HedgeError } from '../common/errors.js';
import { bytesPayload, type RequestHandler } from '../messaging/message.js';
import { KvPut, KvPutDone } from '../wire/hedge/v1/link.js';
import type { GroupCommitter } from './group-commit.runner.js';
import { assertKey } from './kv-limits.js';

/** Serves `KvStore.put` on the pod that leads. */
export function kvPutHandler(committer: GroupCommitter, address: () => string): RequestHandler {
  return async ({ payload, timeoutMs, epoch }) => {
    const put = decode(payload.bytes);
    // Also here, so that a pod of another version of this library cannot write a row this one relies on.
    assertKey(put.key);
    if (put.id === '' || put.id === OVERWRITE_ID) {
      throw new HedgeError(
        'INVALID_ARGUMENT',
        `put "${put.key}" came with row id "${put.id}". Update the calling pod.`,
      );
    }
    // A late append only adds a version, but a late overwrite undoes what the next leader has acknowledged.
    const fence = put.overwrite && put.fence === 0n ? epoch : put.fence;
    const timestamp = await committer.put({ ...put, fence }, timeoutMs);
    return bytesPayload(KvPutDone.encode({ timestamp, leader: address() }).finish());
  };
}

function decode(bytes: Uint8Array): KvPut {
  try {
    return KvPut.decode(bytes);
  } catch (cause) {
    throw new HedgeError('INVALID_ARGUMENT', 'A put could not be decoded. Update the calling pod.', { cause });
  }
}
