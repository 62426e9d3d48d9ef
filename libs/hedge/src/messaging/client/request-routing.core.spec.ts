import { beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../common/errors.js';
import { LEADER_MESSAGE } from '../../election/leader.service.js';
import { BROADCAST } from '../../membership/broadcast.js';
import type { MemberId } from '../../common/identity.js';
import { failureOf } from '../../transport/failure.js';
import { Encoding } from '../../wire/hedge/v1/link.js';
import { ClientCall } from './client-call.js';
import { failureReply, successReply } from '../message.js';
import { RequestRouter } from './request-routing.core.js';
import type { RoutingEffect, RoutingInput } from './request-routing.messages.js';

const SELF = { address: 'self:1', incarnation: 'self' };
const A = { address: 'a:1', incarnation: 'a' };
const B = { address: 'b:1', incarnation: 'b' };
const NO_PAYLOAD = { encoding: Encoding.ENCODING_NONE, bytes: new Uint8Array(0) };
const REFUSED = new HedgeError('MEMBER_UNREACHABLE', 'connection refused');

let router: RequestRouter;
let now: number;
let calls: number;

beforeEach(() => {
  router = new RequestRouter(SELF, () => 0.5);
  now = 0;
  calls = 0;
});

/** The effects of an input, in short form. */
function step(input: RoutingInput<ClientCall>): unknown[] {
  return router.step(input, now).map(short);
}

function short(effect: RoutingEffect<ClientCall>): unknown {
  switch (effect.type) {
    case 'transmit':
      return `${effect.call.id} to ${effect.member.address} #${effect.call.sequence} try ${effect.call.attempt}`;
    case 'dial':
      return `dial ${effect.member.address}`;
    case 'cancel':
      return `cancel #${effect.sequence} at ${effect.member.address}`;
    case 'refresh':
      return 'refresh';
    case 'leader-lost':
      return `${effect.call.id} lost ${effect.leader.address}, ${effect.again ? 'again' : 'no more'}`;
    case 'resolve':
      return `${effect.call.id} resolved`;
    case 'reject': {
      const { call, error } = effect;
      return error instanceof HedgeError ? `${call.id} ${error.code}${error.retryable ? ', retryable' : ''}` : error;
    }
  }
  return effect satisfies never;
}

function begin(
  to: 'leader' | MemberId,
  options: { maxReruns?: number; timeoutMs?: number } = {},
): [ClientCall, unknown[]] {
  const { maxReruns = Infinity, timeoutMs = 1_000 } = options;
  const type = to === 'leader' ? LEADER_MESSAGE : BROADCAST;
  calls += 1;
  const request = { to, type, topic: 't', payload: NO_PAYLOAD, timeoutMs, maxReruns };
  const call = new ClientCall(`r${calls}`, request, now + timeoutMs);
  return [call, step({ type: 'begin', call })];
}

const leads = (leader: MemberId | undefined, epoch: bigint): unknown[] => step({ type: 'leader', leader, epoch });
const links = (member: MemberId, resumed = false): unknown[] => step({ type: 'linked', member, resumed });
const pass = (ms: number): unknown[] => ((now += ms), step({ type: 'tick' }));

function answers(member: MemberId, sequence: number, error?: HedgeError): unknown[] {
  const reply = error ? failureReply(sequence, failureOf(error)) : successReply(sequence, NO_PAYLOAD);
  return step({ type: 'replied', member, reply });
}

const notLeader = (begun: boolean): HedgeError => new HedgeError('NOT_LEADER', 'not me', { retryable: !begun });

describe('RequestRouter', () => {
  it('dials the leader once for all calls, and writes them when the link is up', () => {
    leads(A, 1n);
    expect(begin('leader')[1]).toEqual(['dial a:1']);
    expect(begin('leader')[1]).toEqual([]);
    expect(links(A)).toEqual(['r1 to a:1 #1 try 1', 'r2 to a:1 #2 try 1']);
    expect(begin('leader')[1]).toEqual(['r3 to a:1 #3 try 1']);
    expect(answers(A, 2)).toEqual(['r2 resolved']);
    expect(answers(A, 2)).toEqual([]);
    expect(router.outstandingAt(A)).toEqual([1, 3]);
  });

  it('runs a call to its own process without a link', () => {
    leads(SELF, 1n);
    expect(begin('leader')[1]).toEqual(['r1 to self:1 #1 try 1']);
    expect(begin(SELF)[1]).toEqual(['r2 to self:1 #2 try 1']);
  });

  it('waits for a leader, searches with growing pauses, and sends the call when a leader is known', () => {
    expect(begin('leader')[1]).toEqual(['refresh']);
    expect(begin('leader')[1]).toEqual([]);
    expect(step({ type: 'refreshed' })).toEqual([]);
    expect(pass(10)).toEqual([]);
    expect(pass(10)).toEqual(['refresh']);
    step({ type: 'refreshed' });
    expect(pass(20)).toEqual([]);
    expect(leads(A, 1n)).toEqual(['dial a:1']);
    expect(links(A)).toEqual(['r1 to a:1 #1 try 1', 'r2 to a:1 #2 try 1']);
  });

  it('moves a call to the next leader after the backend has confirmed a newer term, and never back', () => {
    leads(A, 1n);
    begin('leader');
    links(A);
    expect(leads(undefined, 0n)).toEqual([]);
    expect(leads(B, 2n)).toEqual(['r1 lost a:1, again', 'dial b:1']);
    expect(links(B)).toEqual(['r1 to b:1 #2 try 2']);
    expect(leads(A, 1n)).toEqual([]);
    expect(begin('leader')[1]).toEqual(['r2 to b:1 #3 try 1']);
    expect(answers(A, 1)).toEqual([]);
    expect(answers(B, 2)).toEqual(['r1 resolved']);
  });

  it('retries when a member replies that it does not lead: at first at once, then with pauses', () => {
    leads(A, 1n);
    links(A);
    begin('leader');
    expect(answers(A, 1, notLeader(false))).toEqual(['refresh']);
    expect(step({ type: 'refreshed' })).toEqual(['r1 to a:1 #2 try 2']);
    expect(answers(A, 2, notLeader(false))).toEqual([]);
    expect(pass(20)).toEqual(['refresh']);
    leads(B, 2n);
    expect(links(B)).toEqual(['r1 to b:1 #3 try 3']);
  });

  it('searches for the leader without a pause if the last search was long ago', () => {
    leads(A, 1n);
    links(A);
    begin('leader', { timeoutMs: 20_000 });
    expect(answers(A, 1, notLeader(false))).toEqual(['refresh']);
    step({ type: 'refreshed' });
    expect(answers(A, 2)).toEqual(['r1 resolved']);
    now += 6_000;
    begin('leader');
    expect(answers(A, 3, notLeader(false))).toEqual(['refresh']);
  });

  it('writes a call again under the same sequence after a lost link', () => {
    leads(A, 1n);
    begin('leader');
    links(A);
    expect(step({ type: 'unlinked', member: A })).toEqual(['dial a:1']);
    expect(router.outstandingAt(A)).toEqual([1]);
    expect(links(A, true)).toEqual(['r1 to a:1 #1 try 1']);
  });

  it('does not write a call again that a receiver may have run and forgotten', () => {
    leads(A, 1n);
    begin('leader');
    links(A);
    step({ type: 'unlinked', member: A });
    expect(begin('leader')[1]).toEqual([]);
    expect(links(A, false)).toEqual(['r1 OUTCOME_UNKNOWN', 'r2 to a:1 #2 try 1']);
  });

  it('dials again with growing pauses, and checks whether the leader has changed', () => {
    leads(A, 1n);
    begin('leader');
    expect(step({ type: 'dial-failed', member: A, error: REFUSED })).toEqual(['refresh']);
    step({ type: 'refreshed' });
    expect(pass(10)).toEqual([]);
    expect(pass(10)).toEqual(['dial a:1']);
    step({ type: 'dial-failed', member: A, error: REFUSED });
    expect(pass(20)).not.toContain('dial a:1');
    expect(pass(20)).toContain('dial a:1');
  });

  describe('a call that must never run again', () => {
    it('moves to another leader while it cannot have run', () => {
      leads(A, 1n);
      begin('leader', { maxReruns: 0 });
      leads(B, 2n);
      expect(links(B)).toEqual(['r1 to b:1 #1 try 1']);
      expect(answers(B, 1, notLeader(false))).toEqual(['refresh']);
      expect(step({ type: 'refreshed' })).toEqual(['r1 to b:1 #2 try 2']);
    });

    it('ends when its term ends after it was transmitted', () => {
      leads(A, 1n);
      links(A);
      begin('leader', { maxReruns: 0 });
      expect(leads(B, 2n)).toEqual(['r1 lost a:1, no more', 'r1 OUTCOME_UNKNOWN']);
    });

    it('ends when it was interrupted', () => {
      leads(A, 1n);
      links(A);
      begin('leader', { maxReruns: 0 });
      expect(answers(A, 1, notLeader(true))).toEqual(['r1 lost a:1, no more', 'r1 OUTCOME_UNKNOWN']);
    });
  });

  describe('a call that crashes its leaders', () => {
    it('moves to at most maxReruns leaders after the first, and then has an unknown outcome', () => {
      leads(A, 1n);
      links(A);
      links(B);
      const [call] = begin('leader', { maxReruns: 2 });
      expect(leads(B, 2n)).toEqual(['r1 lost a:1, again', 'r1 to b:1 #2 try 2']);
      // The leader stalled, and was elected again.
      expect(answers(B, 2, notLeader(true))).toEqual(['r1 lost b:1, again', 'refresh']);
      expect(leads(B, 3n)).toEqual(['r1 to b:1 #3 try 3']);
      const [, ended] = router.step({ type: 'leader', leader: A, epoch: 4n }, now);
      expect(ended).toMatchObject({
        type: 'reject',
        error: { code: 'OUTCOME_UNKNOWN', details: { requestId: call.id, attempts: 3, started: true } },
      });
      expect(ended).toMatchObject({ error: { message: expect.stringContaining('3 leaders in a row were lost') } });
      expect(router.size).toBe(0);
    });

    it('does not count a leader on which it cannot have run', () => {
      leads(A, 1n);
      const [call] = begin('leader', { maxReruns: 1 });
      leads(B, 2n);
      links(B);
      expect(answers(B, 1, notLeader(false))).toEqual(['refresh']);
      leads(A, 3n);
      links(A);
      step({ type: 'refreshed' });
      expect(call.lostLeaders).toBe(0);
    });
  });

  describe('a call to a member', () => {
    it('fails at once when the member is unreachable', () => {
      expect(begin(A)[1]).toEqual(['dial a:1']);
      expect(step({ type: 'dial-failed', member: A, error: REFUSED })).toEqual(['r1 MEMBER_UNREACHABLE, retryable']);
      expect(router.size).toBe(0);
    });

    it('reports UNAUTHENTICATED when that pod belongs to another group', () => {
      begin(A);
      const error = new HedgeError('UNAUTHENTICATED', 'another secret');
      expect(step({ type: 'dial-failed', member: A, error })).toEqual(['r1 UNAUTHENTICATED']);
    });

    it('has an unknown outcome when the link is lost and another process answers there', () => {
      links(A);
      begin(A);
      step({ type: 'unlinked', member: A });
      expect(step({ type: 'dial-failed', member: A, error: REFUSED })).toEqual([]);
      expect(pass(50)).toEqual(['dial a:1']);
      const replaced = new HedgeError('MEMBER_UNREACHABLE', 'another', { details: { incarnation: 'a2' } });
      expect(step({ type: 'dial-failed', member: A, error: replaced })).toEqual(['r1 OUTCOME_UNKNOWN']);
    });

    it('ends when the member leaves the group, unless a link is open', () => {
      links(A);
      begin(A);
      begin(B);
      expect(step({ type: 'departed', member: A })).toEqual([]);
      step({ type: 'unlinked', member: A });
      expect(step({ type: 'departed', member: A })).toEqual(['r1 OUTCOME_UNKNOWN']);
      expect(step({ type: 'departed', member: B })).toEqual(['r2 MEMBER_UNREACHABLE, retryable']);
    });

    it('returns the reply of the member, also NOT_LEADER', () => {
      links(A);
      begin(A);
      expect(answers(A, 1, notLeader(false))).toEqual(['r1 NOT_LEADER, retryable']);
    });
  });

  describe('the error at the deadline', () => {
    it('is NO_LEADER when no leader was known', () => {
      begin('leader');
      expect(pass(1_000)).toContain('r1 NO_LEADER, retryable');
    });

    it('is MEMBER_UNREACHABLE when the leader was never reachable', () => {
      leads(A, 1n);
      begin('leader');
      step({ type: 'dial-failed', member: A, error: REFUSED });
      expect(pass(1_000)).toContain('r1 MEMBER_UNREACHABLE, retryable');
    });

    it('is DEADLINE_EXCEEDED, and states whether the call was started', () => {
      leads(A, 1n);
      links(A);
      begin('leader');
      begin('leader');
      answers(A, 2, notLeader(false));
      now += 1_000;
      const errors = router.step({ type: 'tick' }, now).flatMap((effect) => ('error' in effect ? [effect.error] : []));
      expect(errors).toMatchObject([
        { code: 'DEADLINE_EXCEEDED', retryable: false, details: { requestId: 'r1', attempts: 1, started: true } },
        { code: 'DEADLINE_EXCEEDED', retryable: true, details: { requestId: 'r2', attempts: 1, started: false } },
      ]);
      expect(errors[0]).toMatchObject({ message: expect.stringContaining('by its request id, or raise timeoutMs.') });
    });

    it('gives the advice of its request when the outcome is unknown', () => {
      leads(A, 1n);
      links(A);
      const request = { to: 'leader', type: LEADER_MESSAGE, topic: '', name: 'put "k"', payload: NO_PAYLOAD } as const;
      const call = new ClientCall('r1', { ...request, timeoutMs: 1_000, ifUnknown: 'Read the key' }, now + 1_000);
      expect(call.outcomeUnknown('it ended').message).toMatch(/it may have run\. Read the key\.$/);
      step({ type: 'begin', call });
      now += 1_000;
      const errors = router.step({ type: 'tick' }, now).flatMap((effect) => ('error' in effect ? [effect.error] : []));
      expect(errors).toMatchObject([
        {
          code: 'DEADLINE_EXCEEDED',
          message: 'Request put "k" to the leader: no answer within 1000 ms. Read the key, or raise timeoutMs.',
        },
      ]);
    });

    it('is OUTCOME_UNKNOWN for a member whose link was lost meanwhile', () => {
      links(A);
      begin(A);
      step({ type: 'unlinked', member: A });
      expect(pass(1_000)).toContain('r1 OUTCOME_UNKNOWN');
    });

    it('does not wait for the end of a pause', () => {
      begin('leader', { timeoutMs: 30 });
      expect(pass(30)).toContain('r1 NO_LEADER, retryable');
      expect(router.size).toBe(0);
    });
  });

  describe('a call that the caller cancels', () => {
    it('is cancelled on the member where it may run', () => {
      leads(A, 1n);
      links(A);
      const [call] = begin('leader');
      expect(step({ type: 'abandoned', call, reason: 'enough' })).toEqual(['cancel #1 at a:1', 'enough']);
      expect(router.outstandingAt(A)).toEqual([]);
      expect(answers(A, 1)).toEqual([]);
    });

    it('is not cancelled on a member that never received it', () => {
      leads(A, 1n);
      const [call] = begin('leader');
      expect(step({ type: 'abandoned', call, reason: 'enough' })).toEqual(['enough']);
      expect(links(A)).toEqual([]);
    });
  });

  describe('when the outbound queue is full', () => {
    const full = new HedgeError('OVERLOADED', 'queue full');

    it('fails a call that was never transmitted', () => {
      leads(A, 1n);
      links(A);
      const [call] = begin('leader');
      expect(step({ type: 'not-transmitted', call, error: full })).toEqual(['r1 OVERLOADED, retryable']);
    });

    it('retries a call that was transmitted, because it may have run', () => {
      leads(A, 1n);
      links(A);
      const [call] = begin('leader');
      step({ type: 'unlinked', member: A });
      links(A, true);
      expect(step({ type: 'not-transmitted', call, error: full })).toEqual([]);
      expect(pass(10)).toEqual(['r1 to a:1 #1 try 1']);
    });
  });

  it.each([
    new HedgeError('OVERLOADED', 'full'),
    new HedgeError('INVALID_ARGUMENT', 'not written'),
    new HedgeError('NO_HANDLER', 'the next leader has an earlier version'),
    new HedgeError('DEADLINE_EXCEEDED', 'not written', { details: { started: false }, retryable: true }),
  ])('K1: does not pass on that nothing was done when an earlier term may have run it: $code', (refusal) => {
    leads(A, 1n);
    links(A);
    links(B);
    begin('leader');
    leads(B, 2n);
    expect(answers(B, 2, refusal)).toEqual(['r1 OUTCOME_UNKNOWN']);
    begin('leader');
    expect(answers(B, 3, refusal)).toEqual([`r2 ${refusal.code}${refusal.retryable ? ', retryable' : ''}`]);
  });

  it('K1: does not transmit a call that has expired, when a leader or a link comes before the timer after a sleep', () => {
    leads(A, 1n);
    begin('leader');
    now += 5_000;
    expect(links(A)).toEqual(['r1 MEMBER_UNREACHABLE, retryable']);
    begin('leader');
    now += 5_000;
    expect(leads(B, 2n)).toEqual(['r2 DEADLINE_EXCEEDED']);
  });

  it('K1: does not transmit a call that has expired, when its refusal comes before the timer after a sleep', () => {
    leads(A, 1n);
    links(A);
    begin('leader');
    now += 5_000;
    expect(answers(A, 1, notLeader(false))).toEqual(['r1 DEADLINE_EXCEEDED, retryable']);
    expect(leads(B, 2n)).toEqual([]);
  });

  it('fails all calls when it is closed', () => {
    begin('leader');
    begin(A);
    links(B);
    begin(B);
    const error = new HedgeError('SHUTTING_DOWN', 'stopping');
    expect(step({ type: 'close', error })).toEqual([
      'r1 SHUTTING_DOWN, retryable',
      'r2 SHUTTING_DOWN, retryable',
      'r3 OUTCOME_UNKNOWN',
    ]);
    expect(router.size).toBe(0);
  });
});
