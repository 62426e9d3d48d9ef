import { hostname } from 'node:os';
import type { MemberId } from '../common/identity.js';

/** How lock rows name a process: by its address; a client, which has none, by its machine and process id. */
export function lockHolder({ address, incarnation }: MemberId): MemberId {
  return { address: address === '' ? `${hostname()}-${process.pid}` : address, incarnation };
}
