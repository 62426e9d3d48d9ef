import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { HedgeError } from '../../common/errors.js';
import { LEADER_MESSAGE } from '../../election/leader.service.js';
import { BROADCAST } from '../../membership/broadcast.js';
import type { MemberId } from '../../common/identity.js';
import { failureOf } from '../../transport/failure.js';
import { Encoding, type Reply } from '../../wire/hedge/v1/link.js';
import { ClientCall } from '../client/client-call.js';
import { RequestDeduplicator, Entry } from './request-deduplicator.core.js';
import { failureReply, successReply } from '../message.js';
import { RequestRouter } from '../client/request-routing.core.js';
import type { RoutingEffect, RoutingInput } from '../client/request-routing.messages.js';

const HOSTS = 2;
const TIMEOUT_MS = 5_000;
const NO_PAYLOAD = { encoding: Encoding.ENCODING_NONE, bytes: new Uint8Array(0) };

class Work extends Entry {
  constructor(
    sequence: number,
    readonly id: string,
    readonly epoch: bigint,
  ) {
    super(sequence, 1);
  }
}

interface RequestFrame {
  readonly sequence: number;
  readonly id: string;
  readonly epoch: bigint;
}

/** A receiving process, with the link to it. */
class Host {
  readonly duplicates: RequestDeduplicator<Work>;
  leads = 0n;
  /** `proof`: the handshake is in progress; `dead`: the link is broken, and the caller has not noticed it. */
  link: 'none' | 'dialled' | 'proof' | 'open' | 'dead' = 'none';
  outstanding: readonly number[] = [];
  toHost: RequestFrame[] = [];
  toCaller: Reply[] = [];
  /** The sequences that arrived on the present link. */
  arrived = new Set<number>();
  gone = false;

  constructor(
    readonly member: MemberId,
    maxRunning: number,
  ) {
    this.duplicates = new RequestDeduplicator({ maxRunning, maxEntries: 10, maxBytes: 3 });
  }
}

/** One caller and two receivers, with links that break and leaders that change. It runs both cores against each other. */
class World {
  now = 0;
  epoch = 0n;
  readonly ends = new Map<ClientCall, (Reply | Error)[]>();
  /** The terms in which each request was started. */
  readonly runs = new Map<string, bigint[]>();
  readonly hosts: Host[] = [];
  readonly all: Host[] = [];
  readonly #router: RequestRouter;
  #refreshing = false;
  #leader: Host | undefined;

  constructor(private readonly maxRunning: number) {
    this.#router = new RequestRouter({ address: '', incarnation: 'caller' }, () => 0.5);
    for (let index = 0; index < HOSTS; index += 1) this.start(index);
  }

  start(index: number): void {
    const old = this.hosts[index];
    if (old !== undefined) {
      old.gone = true;
      this.cut(index);
      if (this.#leader === old) this.#leader = undefined;
    }
    const host = new Host({ address: `h${index}:1`, incarnation: `h${index}-${this.all.length}` }, this.maxRunning);
    this.hosts[index] = host;
    this.all.push(host);
  }

  begin(to: 'leader' | number, maxReruns: number): void {
    const target = to === 'leader' ? to : this.hosts[to]!.member;
    const type = to === 'leader' ? LEADER_MESSAGE : BROADCAST;
    const request = { to: target, type, topic: 't', payload: NO_PAYLOAD, timeoutMs: TIMEOUT_MS, maxReruns };
    const call = new ClientCall(`r${this.ends.size}`, request, this.now + TIMEOUT_MS);
    this.ends.set(call, []);
    this.step({ type: 'begin', call });
  }

  abandon(which: number): void {
    const open = [...this.ends].filter(([, ends]) => ends.length === 0).map(([call]) => call);
    const call = open[which % open.length];
    if (call !== undefined) this.step({ type: 'abandoned', call, reason: new Error('abandoned') });
  }

  /** The backend gives the lease to another host. The former holder notices that in `noticeLoss`. */
  elect(index: number): void {
    this.epoch += 1n;
    this.#leader = this.hosts[index];
    this.hosts[index]!.leads = this.epoch;
  }

  noticeLoss(index: number): void {
    const host = this.hosts[index]!;
    if (host.leads === this.epoch) return;
    host.leads = 0n;
    for (const work of host.duplicates.running()) {
      if (work.epoch !== 0n) this.#end(host, work, notLeader(work.sequence, false));
    }
  }

  tellCaller(): void {
    this.step({ type: 'leader', leader: this.#leader?.member, epoch: this.epoch });
  }

  refreshed(): void {
    if (!this.#refreshing) return;
    this.#refreshing = false;
    this.tellCaller();
    this.step({ type: 'refreshed' });
  }

  /** Performs the next step that the link to that host needs. */
  connect(index: number): void {
    const host = this.hosts[index]!;
    if (host.link === 'dialled') {
      host.link = 'proof';
      host.outstanding = this.#router.outstandingAt(host.member);
    } else if (host.link === 'proof') {
      host.link = 'open';
      host.arrived = new Set();
      const { known } = host.duplicates.resume('caller', host.outstanding);
      this.step({ type: 'linked', member: host.member, resumed: known });
    }
  }

  refuse(index: number): void {
    const host = this.hosts[index]!;
    if (host.link !== 'dialled' && host.link !== 'proof') return;
    host.link = 'none';
    this.step({ type: 'dial-failed', member: host.member, error: new HedgeError('MEMBER_UNREACHABLE', 'refused') });
  }

  cut(index: number): void {
    const host = this.hosts[index]!;
    if (host.link !== 'open') return;
    host.link = 'dead';
    host.toHost = [];
    host.toCaller = [];
  }

  noticeCut(which: number): void {
    const dead = this.all.filter(({ link }) => link === 'dead');
    const host = dead[which % dead.length];
    if (host === undefined) return;
    host.link = 'none';
    this.step({ type: 'unlinked', member: host.member });
  }

  forget(index: number): void {
    const host = this.hosts[index]!;
    if (host.link === 'dead' || host.link === 'none') host.duplicates.forget('caller');
  }

  deliver(index: number): void {
    const host = this.hosts[index]!;
    const frame = host.toHost.shift();
    if (frame === undefined || host.link !== 'open') return;
    host.arrived.add(frame.sequence);
    const known = host.duplicates.find('caller', frame.sequence);
    if (known !== undefined) {
      if (known.reply !== undefined) host.toCaller.push(known.reply);
      return;
    }
    if (frame.epoch !== 0n && host.leads !== frame.epoch) {
      host.toCaller.push(notLeader(frame.sequence, true));
      return;
    }
    const work = new Work(frame.sequence, frame.id, frame.epoch);
    const full = host.duplicates.admit('caller', work);
    if (full === undefined) this.runs.set(work.id, [...(this.runs.get(work.id) ?? []), work.epoch]);
    else host.toCaller.push(failureReply(frame.sequence, failureOf(full)));
  }

  answer(index: number): void {
    const host = this.hosts[index]!;
    const reply = host.toCaller.shift();
    if (reply === undefined || host.link !== 'open') return;
    // The acknowledgement arrives at once, also before requests that were written earlier.
    host.duplicates.acknowledge('caller', [reply.sequence]);
    this.step({ type: 'replied', member: host.member, reply });
  }

  finish(index: number, which: number): void {
    const host = this.hosts[index]!;
    const running = host.duplicates.running();
    const work = running[which % running.length];
    if (work !== undefined) this.#end(host, work, successReply(work.sequence, NO_PAYLOAD));
  }

  pass(ms: number): void {
    this.now += ms;
    this.step({ type: 'tick' });
  }

  step(input: RoutingInput<ClientCall>): void {
    for (const effect of this.#router.step(input, this.now)) this.#perform(effect);
  }

  #perform(effect: RoutingEffect<ClientCall>): void {
    switch (effect.type) {
      case 'transmit': {
        const host = this.#host(effect.member);
        const { sequence, id, epoch } = effect.call;
        if (host.link === 'open') host.toHost.push({ sequence, id, epoch });
        return;
      }
      case 'dial': {
        const host = this.#host(effect.member);
        const error = new HedgeError('MEMBER_UNREACHABLE', 'another', { details: { incarnation: 'new' } });
        if (host.gone) this.step({ type: 'dial-failed', member: effect.member, error });
        else host.link = 'dialled';
        return;
      }
      case 'refresh':
        this.#refreshing = true;
        return;
      case 'resolve':
        this.ends.get(effect.call)!.push(effect.reply);
        return;
      case 'reject':
        this.ends.get(effect.call)!.push(effect.error as Error);
        return;
      case 'leader-lost':
      case 'cancel':
    }
  }

  #end(host: Host, work: Work, reply: Reply): void {
    const wanted = host.duplicates.finish(work, reply, 1);
    if (wanted && host.link === 'open' && host.arrived.has(work.sequence)) host.toCaller.push(reply);
  }

  #host(member: MemberId): Host {
    return this.all.find((host) => host.member.incarnation === member.incarnation)!;
  }
}

function notLeader(sequence: number, retryable: boolean): Reply {
  return failureReply(sequence, failureOf(new HedgeError('NOT_LEADER', 'not me', { retryable })));
}

const host = fc.nat(HOSTS - 1);
const nothing = fc.constant(0);
const move = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant('send' as const), fc.nat(2)) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('ask' as const), host) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('abandon' as const), fc.nat(9)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('elect' as const), host) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('noticeLoss' as const), host) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('tellCaller' as const), nothing) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('refreshed' as const), nothing) },
  { weight: 24, arbitrary: fc.tuple(fc.constant('connect' as const), host) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('refuse' as const), host) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('cut' as const), host) },
  { weight: 8, arbitrary: fc.tuple(fc.constant('noticeCut' as const), fc.nat(9)) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('forget' as const), host) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('start' as const), host) },
  { weight: 20, arbitrary: fc.tuple(fc.constant('deliver' as const), host) },
  { weight: 12, arbitrary: fc.tuple(fc.constant('answer' as const), host) },
  { weight: 10, arbitrary: fc.tuple(fc.constant('finish' as const), host) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('depart' as const), host) },
  { weight: 5, arbitrary: fc.tuple(fc.constant('pass' as const), fc.nat(900)) },
);

function play(maxRunning: number, moves: readonly (readonly [string, number])[]): World {
  const world = new World(maxRunning);
  for (const [name, value] of moves) {
    if (name === 'send') world.begin('leader', [0, 1, Infinity][value]!);
    else if (name === 'ask') world.begin(value, Infinity);
    else if (name === 'finish') world.finish(value, world.now);
    else if (name === 'depart') world.step({ type: 'departed', member: world.hosts[value]!.member });
    else world[name as 'connect' | 'deliver' | 'pass'](value);
  }
  for (let left = TIMEOUT_MS + 100; left > 0; left -= 100) world.pass(100);
  return world;
}

describe('the messaging protocol, both cores against each other', () => {
  const seen = { resolved: 0, twice: 0, unknown: 0, unstarted: 0, overloaded: 0 };

  it('runs a request at most once in a term, ends it exactly once, and never reports started work as not started', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.array(move, { maxLength: 250, size: 'max' }),
        (maxRunning, moves) => {
          const world = play(maxRunning, moves);
          for (const [call, ends] of world.ends) {
            const terms = world.runs.get(call.id) ?? [];
            expect(new Set(terms).size).toBe(terms.length);
            const reruns = call.request.to === 'leader' ? (call.request.maxReruns ?? Infinity) : 0;
            expect(terms.length).toBeLessThanOrEqual(1 + reruns);
            expect(ends).toHaveLength(1);
            const [end] = ends;
            if (!(end instanceof Error)) {
              expect(terms.length).toBeGreaterThanOrEqual(1);
              seen.resolved += 1;
            }
            if (terms.length > 1) seen.twice += 1;
            if (!(end instanceof HedgeError)) continue;
            if (end.code === 'OUTCOME_UNKNOWN') seen.unknown += 1;
            if (end.code === 'OVERLOADED') seen.overloaded += 1;
            if (end.retryable || end.code === 'OVERLOADED') {
              expect(terms).toEqual([]);
              seen.unstarted += 1;
            }
          }
        },
      ),
      { numRuns: 800, seed: 7 },
    );
    // The histories covered the cases of interest.
    expect(Object.entries(seen).filter(([, count]) => count < 20)).toEqual([]);
  });
});
