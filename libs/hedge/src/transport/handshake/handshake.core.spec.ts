import { describe, expect, it } from '@jest/globals';
import { CallerHandshake, NONCE_BYTES, PROTOCOL, ReceiverHandshake, printable } from './handshake.core.js';
import { prove, proves } from './proof.js';
import type { FrameBody } from '../transport.js';
import type { Challenge, Hello } from '../../wire/hedge/v1/link.js';

const caller = { address: 'a:1', incarnation: 'caller-1' };
const receiver = { address: 'b:1', incarnation: 'receiver-1' };
const secret = Buffer.from('the secret of the group');
const callerNonce = Buffer.alloc(NONCE_BYTES, 1);
const receiverNonce = Buffer.alloc(NONCE_BYTES, 2);

interface Difference {
  group?: string;
  secret?: Buffer;
  expects?: string;
  dials?: string;
}

function callerSide({ group = 'orders', secret: own = secret, expects, dials = 'b:1' }: Difference = {}) {
  return new CallerHandshake({
    kind: 'link',
    group,
    self: caller,
    secret: own,
    nonce: callerNonce,
    generation: 7,
    target: { address: dials, incarnation: expects },
  });
}

function receiverSide(nonce = receiverNonce) {
  return new ReceiverHandshake({ kind: 'link', group: 'orders', self: receiver, secret, nonce });
}

const hello = (value: Hello): FrameBody => ({ $case: 'hello', value });
const challenge = (value: Challenge): FrameBody => ({ $case: 'challenge', value });
const proof = (value: Uint8Array, outstanding: number[] = []): FrameBody => ({
  $case: 'proof',
  value: { proof: value, outstanding },
});

const flipped = (bytes: Uint8Array) => Buffer.from(bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte)));

/** Runs a handshake up to the Proof; correct by default. */
function greet(from = callerSide(), to = receiverSide()) {
  const answer = to.step(hello(from.hello));
  if (answer.kind !== 'challenge') throw new Error(`the receiver did not challenge: ${answer.kind}`);
  const next = from.step(challenge(answer.challenge));
  return { from, to, challenge: answer.challenge, next };
}

describe('handshake', () => {
  it('opens when both have the secret, and passes the outstanding requests to the receiver', () => {
    const { from, to, next } = greet();
    if (next.kind !== 'prove') throw new Error(next.kind);
    expect(next.receiver).toEqual(receiver);
    expect(to.step(proof(next.proof, [3, 5]))).toEqual({
      kind: 'admit',
      caller,
      generation: 7,
      outstanding: [3, 5],
    });
    expect(from.step({ $case: 'welcome', value: { resumed: true, timing: undefined } })).toEqual({
      kind: 'open',
      receiver,
      resumed: true,
    });
  });

  it('refuses another group without naming its own', () => {
    const step = receiverSide().step(hello(callerSide({ group: 'other' }).hello));
    expect(step).toMatchObject({ kind: 'refuse', byCaller: false, error: { code: 'UNAUTHENTICATED' } });
    expect(JSON.stringify(step)).not.toContain('orders');
  });

  it.each([PROTOCOL + 1, 0])('refuses protocol %d, and both sides report both numbers and the fix', (protocol) => {
    const step = receiverSide().step(hello({ ...callerSide().hello, protocol }));
    expect(step).toMatchObject({ kind: 'refuse', byCaller: false, error: { code: 'UNAUTHENTICATED' } });
    if (step.kind !== 'refuse') throw new Error(step.kind);
    const { code, message } = step.error;
    expect(message).toMatch(
      new RegExp(`protocol ${protocol}, this member ${PROTOCOL},.* Update nestjs-hedge on all pods .*CHANGELOG.md`),
    );
    const received = callerSide().step({ $case: 'refusal', value: { code, message } });
    expect(received).toMatchObject({ kind: 'fail', refuse: false, error: { code: 'UNAUTHENTICATED' } });
    // The message is not cut.
    expect(received.kind === 'fail' && received.error.message).toBe(`The member at b:1 refused this one: ${message}`);
  });

  it('a caller does not prove itself to a receiver without the secret', () => {
    expect(greet(callerSide({ secret: Buffer.from('another') })).next).toMatchObject({
      kind: 'fail',
      refuse: true,
      error: { code: 'UNAUTHENTICATED' },
    });
  });

  it('a receiver refuses a proof made with another secret', () => {
    const { from, to, challenge } = greet();
    const forged = prove('link/v1/caller', Buffer.from('another'), from.hello, challenge);
    expect(to.step(proof(forged))).toMatchObject({ kind: 'refuse', error: { code: 'UNAUTHENTICATED' } });
  });

  it('a caller accepts that another process answers only when that process has the secret', () => {
    expect(greet(callerSide({ expects: 'receiver-0' })).next).toMatchObject({
      kind: 'fail',
      error: { code: 'MEMBER_UNREACHABLE', details: { incarnation: 'receiver-1' } },
    });
    const stranger = new ReceiverHandshake({
      kind: 'link',
      group: 'orders',
      self: receiver,
      secret: Buffer.from('another'),
      nonce: receiverNonce,
    });
    const { next } = greet(callerSide({ expects: 'receiver-0' }), stranger);
    expect(next).toMatchObject({ kind: 'fail', error: { code: 'UNAUTHENTICATED' } });
    expect(JSON.stringify(next)).not.toContain('receiver-1');
  });

  it('a receiver refuses a caller that asks for another process, even with a correct proof', () => {
    const from = callerSide({ expects: 'receiver-0' });
    const { to, challenge } = greet(from);
    const right = prove('link/v1/caller', secret, from.hello, challenge);
    expect(to.step(proof(right))).toMatchObject({ kind: 'refuse', error: { code: 'MEMBER_UNREACHABLE' } });
  });

  it('a caller refuses a member that advertises another address', () => {
    expect(greet(callerSide({ dials: 'c:1' })).next).toMatchObject({
      kind: 'fail',
      error: { code: 'MEMBER_UNREACHABLE', details: { advertised: 'b:1' } },
    });
  });

  it('refuses a proof of an earlier handshake (replay)', () => {
    const first = greet();
    if (first.next.kind !== 'prove') throw new Error(first.next.kind);
    const second = greet(callerSide(), receiverSide(Buffer.alloc(NONCE_BYTES, 3)));
    expect(second.to.step(proof(first.next.proof))).toMatchObject({ kind: 'refuse' });
  });

  it("refuses the receiver's own proof sent back (reflection)", () => {
    const { to, challenge } = greet();
    expect(to.step(proof(challenge.proof))).toMatchObject({ kind: 'refuse', error: { code: 'UNAUTHENTICATED' } });
  });

  it.each<[string, FrameBody]>([
    ['a proof first', proof(Buffer.alloc(32))],
    ['a request first', { $case: 'cancel', value: { sequence: 1 } }],
    ['a short nonce', hello({ ...callerSide().hello, nonce: Buffer.alloc(16) })],
    ['no incarnation', hello({ ...callerSide().hello, incarnation: '' })],
    ['an address with a line break', hello({ ...callerSide().hello, address: 'a:1\n[Nest] LOG forged:1' })],
    ['an address without a port', hello({ ...callerSide().hello, address: 'a' })],
    ['an incarnation with a line break', hello({ ...callerSide().hello, incarnation: 'a\nforged' })],
    ['a very long address', hello({ ...callerSide().hello, address: 'a'.repeat(300) })],
    ['no generation', hello({ ...callerSide().hello, generation: 0 })],
  ])('a receiver refuses %s', (_what, first) => {
    expect(receiverSide().step(first)).toMatchObject({ kind: 'refuse', error: { code: 'UNAUTHENTICATED' } });
  });

  it('a receiver refuses a second Hello', () => {
    const { from, to } = greet();
    expect(to.step(hello(from.hello))).toMatchObject({ kind: 'refuse' });
  });

  it('a caller accepts no Welcome without a proven Challenge', () => {
    expect(callerSide().step({ $case: 'welcome', value: { resumed: true, timing: undefined } })).toMatchObject({
      kind: 'fail',
    });
  });

  it('the text of a refusal cannot forge a log line', () => {
    const step = callerSide().step({
      $case: 'refusal',
      value: { code: 'UNAUTHENTICATED', message: 'no\n[Nest] all is well \u001b[31m' + 'x'.repeat(999) },
    });
    expect(step).toMatchObject({ kind: 'fail', refuse: false, error: { code: 'UNAUTHENTICATED' } });
    if (step.kind !== 'fail') throw new Error(step.kind);
    expect(step.error.message).toMatch(/^[ -~]+$/);
    expect(step.error.message.length).toBeLessThan(400);
    expect(printable('é\t')).toBe('??');
  });

  it('a temporary refusal is retryable for the caller', () => {
    const step = callerSide().step({ $case: 'refusal', value: { code: 'BACKEND_UNAVAILABLE', message: 'later' } });
    expect(step).toMatchObject({ error: { code: 'MEMBER_UNREACHABLE', retryable: true } });
  });
});

describe('proof', () => {
  const base: Hello = callerSide().hello;
  const unsigned = { ...receiver, nonce: receiverNonce };
  const right = prove('link/v1/caller', secret, base, unsigned);

  it('is accepted unchanged', () => {
    expect(proves(right, 'link/v1/caller', secret, base, unsigned)).toBe(true);
  });

  it.each<[string, Partial<Hello>]>([
    ['protocol', { protocol: base.protocol + 1 }],
    ['group', { group: 'orderr' }],
    ['address', { address: 'a:2' }],
    ['incarnation', { incarnation: 'caller-2' }],
    ['nonce', { nonce: flipped(base.nonce) }],
    ['generation', { generation: base.generation + 1 }],
    ['receiver', { receiver: 'r' }],
  ])('binds %s of Hello', (_field, other) => {
    expect(proves(right, 'link/v1/caller', secret, { ...base, ...other }, unsigned)).toBe(false);
  });

  it.each<[string, Partial<typeof unsigned>]>([
    ['address', { address: 'b:2' }],
    ['incarnation', { incarnation: 'receiver-2' }],
    ['nonce', { nonce: flipped(receiverNonce) }],
  ])('binds %s of Challenge', (_field, other) => {
    expect(proves(right, 'link/v1/caller', secret, base, { ...unsigned, ...other })).toBe(false);
  });

  it('binds the role and the secret', () => {
    expect(proves(right, 'link/v1/receiver', secret, base, unsigned)).toBe(false);
    expect(proves(right, 'link/v1/caller', flipped(secret), base, unsigned)).toBe(false);
  });

  it('binds the kind of stream, so that the proof for a link opens no other stream', () => {
    expect(proves(right, 'stream/v1/caller', secret, base, unsigned)).toBe(false);
  });

  it('differs when bytes move from one field to the next', () => {
    const moved = { ...base, group: base.group + base.address, address: '' };
    expect(proves(right, 'link/v1/caller', secret, moved, unsigned)).toBe(false);
  });

  it('refuses any flipped bit and any other length', () => {
    for (let bit = 0; bit < right.length * 8; bit++) {
      const other = Buffer.from(right);
      other.writeUInt8(other.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(proves(other, 'link/v1/caller', secret, base, unsigned)).toBe(false);
    }
    expect(proves(right.subarray(1), 'link/v1/caller', secret, base, unsigned)).toBe(false);
    expect(proves(Buffer.alloc(0), 'link/v1/caller', secret, base, unsigned)).toBe(false);
  });
});
