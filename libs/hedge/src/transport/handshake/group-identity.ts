import { randomBytes } from 'node:crypto';
import type { MemberId } from '../../common/identity.js';
import { type HandshakeInput, NONCE_BYTES } from './handshake.core.js';
import type { Timing } from '../../common/timing.js';
import type { StreamKind } from '../streams/message-stream.js';

/** The one that this process proves itself with first, then others that a peer may have. */
export type GroupSecrets = Uint8Array | readonly [Uint8Array, ...Uint8Array[]];

/** Who this process is to its peers, and what it proves that with. */
export class GroupIdentity {
  private member: MemberId;

  constructor(
    private readonly group: string,
    self: MemberId,
    /** Gives the group's secret. Asked for each handshake, because it can be another one when the database was replaced. */
    private readonly secret: () => Promise<GroupSecrets>,
    private readonly timing: Timing | undefined,
  ) {
    this.member = self;
  }

  get self(): MemberId {
    return this.member;
  }

  /** An address with port 0 takes the one that was bound. */
  bound(port: number): void {
    this.member = { ...this.member, address: this.member.address.replace(/:0$/, `:${port}`) };
  }

  /** For one handshake. Rejects when the secret cannot be had now. */
  async handshakeInput(kind: StreamKind): Promise<HandshakeInput> {
    const known = await this.secret();
    const [secret, ...accepted] = known instanceof Uint8Array ? [known] : known;
    const { group, member: self, timing } = this;
    return { kind, group, self, secret, accepted, timing, nonce: randomBytes(NONCE_BYTES) };
  }
}
