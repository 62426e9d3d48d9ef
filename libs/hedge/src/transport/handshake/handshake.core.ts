import { HedgeError, type HedgeErrorCode } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { StreamKind } from '../streams/message-stream.js';
import { isHostAndPort } from '../address.js';
import { prove, proves } from './proof.js';
import type { FrameBody } from '../transport.js';
import type { Challenge, Hello, Timing } from '../../wire/hedge/v1/link.js';

/** Version of the protocol. Peers with another number are refused. Raise it when an old peer could misread a new one. */
export const PROTOCOL = 1;
export const NONCE_BYTES = 32;

const MAX_TEXT = 256;

/** The input of each side of a handshake. */
export interface HandshakeInput {
  readonly kind: StreamKind;
  readonly group: string;
  readonly self: MemberId;
  readonly secret: Uint8Array;
  /** Other secrets that a peer may use during a rotation of the secret. */
  readonly accepted?: readonly Uint8Array[];
  /** The durations of this pod, which the peer compares with its own. */
  readonly timing?: Timing | undefined;
  /** `NONCE_BYTES` random bytes that were never used before. */
  readonly nonce: Uint8Array;
}

export type CallerStep =
  /** Send Proof, with the sequences of the requests that are outstanding at this receiver. */
  | { readonly kind: 'prove'; readonly receiver: MemberId; readonly proof: Uint8Array }
  | {
      readonly kind: 'open';
      readonly receiver: MemberId;
      readonly resumed: boolean;
      readonly timing: Timing | undefined;
    }
  /** `refuse`: send a Refusal to the peer. False when the peer refused. */
  | { readonly kind: 'fail'; readonly error: HedgeError; readonly refuse: boolean };

/**
 * The caller's side: Hello → Challenge → Proof → Welcome. Pure: its input is the frames of the peer, its output the next
 * step. The receiver proves itself first, so a caller never sends a proof to a stranger.
 */
export class CallerHandshake {
  readonly hello: Hello;
  #receiver: MemberId | undefined;

  constructor(
    private readonly input: HandshakeInput & {
      readonly generation: number;
      readonly target: { readonly address: string; readonly incarnation?: string };
    },
  ) {
    this.hello = {
      protocol: PROTOCOL,
      group: input.group,
      address: input.self.address,
      incarnation: input.self.incarnation,
      nonce: input.nonce,
      generation: input.generation,
      receiver: input.target.incarnation ?? '',
      timing: input.timing,
    };
  }

  step(body: FrameBody): CallerStep {
    if (body.$case === 'refusal') return { kind: 'fail', error: this.#refused(body.value), refuse: false };
    if (body.$case === 'challenge' && !this.#receiver) return this.#challenged(body.value);
    if (body.$case === 'welcome' && this.#receiver) {
      return { kind: 'open', receiver: this.#receiver, resumed: body.value.resumed, timing: body.value.timing };
    }
    return this.#fail('UNAUTHENTICATED', `sent ${body.$case} out of turn in the handshake`);
  }

  #challenged(challenge: Challenge): CallerStep {
    const { kind, target } = this.input;
    if (challenge.nonce.byteLength !== NONCE_BYTES || !wellFormed(challenge)) {
      return this.#fail('UNAUTHENTICATED', 'sent a malformed challenge');
    }
    const secret = secretsOf(this.input).find((one) =>
      proves(challenge.proof, `${kind}/v1/receiver`, one, this.hello, challenge),
    );
    if (secret === undefined) {
      return this.#fail(
        'UNAUTHENTICATED',
        'does not have the secret of this group. Check that both use the same database and group, or the same `secret` option',
      );
    }
    if (challenge.address !== target.address) {
      return this.#fail(
        'MEMBER_UNREACHABLE',
        `advertises the address ${challenge.address}. Dial members at the address that they advertise`,
        { advertised: challenge.address },
      );
    }
    if (target.incarnation !== undefined && challenge.incarnation !== target.incarnation) {
      if (challenge.incarnation === this.input.self.incarnation) {
        return this.#fail(
          'MEMBER_UNREACHABLE',
          `is this pod itself, and not process ${target.incarnation}. If that process is alive, another live pod has this pod's own address. Set the variable POD_IP from status.podIP, or \`address\`, to an address that other pods can dial`,
          { incarnation: challenge.incarnation },
        );
      }
      return this.#fail('MEMBER_UNREACHABLE', `is now process ${challenge.incarnation}, not ${target.incarnation}`, {
        incarnation: challenge.incarnation,
      });
    }
    this.#receiver = { address: challenge.address, incarnation: challenge.incarnation };
    return {
      kind: 'prove',
      receiver: this.#receiver,
      proof: prove(`${kind}/v1/caller`, secret, this.hello, challenge),
    };
  }

  #fail(code: HedgeErrorCode, what: string, details: Record<string, unknown> = {}): CallerStep {
    const address = this.input.target.address;
    const error = new HedgeError(code, `The member at ${address} ${what}`, { details: { address, ...details } });
    return { kind: 'fail', error, refuse: true };
  }

  #refused(refusal: { code: string; message: string }): HedgeError {
    const address = this.input.target.address;
    // Only UNAUTHENTICATED is final. Any other refusal of a peer may be temporary.
    const code = refusal.code === 'UNAUTHENTICATED' ? 'UNAUTHENTICATED' : 'MEMBER_UNREACHABLE';
    return new HedgeError(code, `The member at ${address} refused this one: ${printable(refusal.message)}`, {
      details: { address, refusal: printable(refusal.code) },
    });
  }
}

export type ReceiverStep =
  | { readonly kind: 'challenge'; readonly challenge: Challenge }
  /** The caller is authenticated: admit it if its generation is the newest, and answer Welcome. */
  | {
      readonly kind: 'admit';
      readonly caller: MemberId;
      readonly generation: number;
      readonly outstanding: readonly number[];
      readonly timing: Timing | undefined;
    }
  /** `byCaller`: the caller refused. Otherwise send it a Refusal. */
  | { readonly kind: 'refuse'; readonly error: HedgeError; readonly byCaller: boolean };

/** The receiver's side. Pure, like the caller's side. */
export class ReceiverHandshake {
  #greeting: { readonly hello: Hello; readonly challenge: Challenge } | undefined;

  constructor(private readonly input: HandshakeInput) {}

  step(body: FrameBody): ReceiverStep {
    if (body.$case === 'refusal') {
      const error = new HedgeError('UNAUTHENTICATED', `The caller refused: ${printable(body.value.message)}`);
      return { kind: 'refuse', error, byCaller: true };
    }
    if (body.$case === 'hello' && !this.#greeting) return this.#greeted(body.value);
    if (body.$case === 'proof' && this.#greeting) {
      return this.#proved(this.#greeting, body.value.proof, body.value.outstanding);
    }
    return refuse('UNAUTHENTICATED', `The caller sent ${body.$case} out of turn in the handshake`);
  }

  #greeted(hello: Hello): ReceiverStep {
    const { kind, group, self, nonce, secret } = this.input;
    if (hello.protocol !== PROTOCOL) {
      return refuse(
        'UNAUTHENTICATED',
        `The caller speaks link protocol ${hello.protocol}, this member ${PROTOCOL}, so the two cannot be in one group. Update nestjs-hedge on all pods to versions with the same protocol, through each intermediate release that CHANGELOG.md names`,
      );
    }
    if (hello.nonce.byteLength !== NONCE_BYTES || !wellFormed(hello) || hello.generation < 1) {
      return refuse('UNAUTHENTICATED', 'The caller sent a malformed Hello');
    }
    if (hello.group !== group) {
      return refuse(
        'UNAUTHENTICATED',
        `The caller belongs to group ${JSON.stringify(printable(hello.group))}, which is not the group of this member`,
      );
    }
    // A Hello for another incarnation gets a Challenge, too: only the proof in it convinces the caller that the process
    // it looks for has ended.
    const unsigned = { address: self.address, incarnation: self.incarnation, nonce };
    const challenge: Challenge = { ...unsigned, proof: prove(`${kind}/v1/receiver`, secret, hello, unsigned) };
    this.#greeting = { hello, challenge };
    return { kind: 'challenge', challenge };
  }

  #proved(
    { hello, challenge }: { hello: Hello; challenge: Challenge },
    proof: Uint8Array,
    outstanding: readonly number[],
  ): ReceiverStep {
    const known = secretsOf(this.input).some((one) =>
      proves(proof, `${this.input.kind}/v1/caller`, one, hello, challenge),
    );
    if (!known) {
      return refuse('UNAUTHENTICATED', 'The caller does not have the secret of this group');
    }
    if (hello.receiver !== '' && hello.receiver !== this.input.self.incarnation) {
      return refuse(
        'MEMBER_UNREACHABLE',
        `The caller asks for process ${hello.receiver}, but this is process ${this.input.self.incarnation}`,
      );
    }
    const caller = { address: hello.address, incarnation: hello.incarnation };
    return { kind: 'admit', caller, generation: hello.generation, outstanding, timing: hello.timing };
  }
}

function secretsOf({ secret, accepted = [] }: HandshakeInput): Uint8Array[] {
  return [secret, ...accepted];
}

function refuse(code: HedgeErrorCode, message: string): ReceiverStep {
  return { kind: 'refuse', error: new HedgeError(code, message), byCaller: false };
}

function wellFormed(member: MemberId): boolean {
  const { address, incarnation } = member;
  return (address === '' || isHostAndPort(address)) && /^[\w-]{1,256}$/.test(incarnation);
}

/** Cuts a text of an unauthenticated peer, and replaces characters that could forge a line of the log. */
export function printable(text: string): string {
  return text.slice(0, MAX_TEXT).replace(/[^\x20-\x7e]/g, '?');
}
