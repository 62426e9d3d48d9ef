import { randomBytes } from 'node:crypto';
import type { MemberId } from '../../common/identity.js';
import { type HandshakeInput, NONCE_BYTES } from './handshake.core.js';
import type { Timing } from '../../common/timing.js';
import type { StreamKind } from '../streams/message-stream.js';

/** First the secret with which this process proves itself, then others that a peer may use. */
export type GroupSecrets = Uint8Array | readonly [Uint8Array, ...Uint8Array[]];

/** The identity of this process for its peers, and the secret that proves it. */
export class GroupIdentity {
  #member: MemberId;

  constructor(
    private readonly group: string,
    self: MemberId,
    /** Reads the secret of the group. Called for each handshake, because the secret changes when the database is replaced. */
    private readonly secret: (self: MemberId) => Promise<GroupSecrets>,
    private readonly timing: Timing | undefined,
  ) {
    this.#member = self;
  }

  get self(): MemberId {
    return this.#member;
  }

  /** Replaces port 0 in the address by the bound port. */
  bound(port: number): void {
    this.#member = { ...this.#member, address: this.#member.address.replace(/:0$/, `:${port}`) };
  }

  /** The input of one handshake. Rejects when the secret cannot be read now. */
  async handshakeInput(kind: StreamKind): Promise<HandshakeInput> {
    const known = await this.secret(this.#member);
    const [secret, ...accepted] = known instanceof Uint8Array ? [known] : known;
    const self = this.#member;
    const { group, timing } = this;
    return { kind, group, self, secret, accepted, timing, nonce: randomBytes(NONCE_BYTES) };
  }
}
