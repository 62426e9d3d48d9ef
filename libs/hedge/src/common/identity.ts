import { randomUUID } from 'node:crypto';

/** The identity of a pod: the address to dial, and the start of the process. */
export interface MemberId {
  /** Advertised `host:port`; empty for a client, since no pod dials a client. */
  readonly address: string;
  /** UUID created at the start of the process: a restarted pod is another member. */
  readonly incarnation: string;
}

export function newIncarnation(): string {
  return randomUUID();
}
