import { randomBytes } from 'node:crypto';
import type { LogTable } from '../backend/log.js';
import { secretKey } from '../backend/names.js';
import { HedgeError } from '../common/errors.js';

const SECRET_ID = 'secret';

/**
 * The secret by which the pods of a group know each other: 32 random bytes that the first pod writes to a
 * reserved row, so that who can read the group's database belongs, with nothing to configure. Pods that
 * start at once may all write: the row id is the same, so one of them wins and all read its value.
 *
 * @throws HedgeError BACKEND_UNAVAILABLE: call again.
 */
export async function groupSecret(log: LogTable, group: string, writer: string): Promise<Buffer> {
  const key = secretKey(group);
  const kept = await log.latest(key);
  if (kept !== undefined) return Buffer.from(kept.value, 'base64');
  const value = randomBytes(32).toString('base64');
  const [outcome] = await log.append([{ key, id: SECRET_ID, value, leader: writer }]);
  if (!(outcome instanceof HedgeError)) return Buffer.from(value, 'base64');
  if (outcome.code === 'CONFLICT') return groupSecret(log, group, writer);
  throw outcome;
}
