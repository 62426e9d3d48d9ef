import { randomUUID } from 'node:crypto';

/** One pod as others know it: where to dial it, and which start of the process this is. */
export interface MemberId {
  /** Advertised `host:port`; empty for a client, which nobody dials. */
  readonly address: string;
  /** UUID made at process start: a restarted pod is another member. */
  readonly incarnation: string;
}

export function newIncarnation(): string {
  return randomUUID();
}
