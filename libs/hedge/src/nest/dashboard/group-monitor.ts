import { messageOf } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { LeaderService } from '../../election/leader.service.js';
import type { InspectionService } from '../../inspection/inspection.service.js';
import {
  type HandledKind,
  type HeldSpill,
  MOST_LISTED,
  type PodState,
  type TopicFigures,
} from '../../inspection/pod-state.js';
import type { ClusterService } from '../../membership/cluster.service.js';

/** The pauses between two looks at the leader are a twelfth of its lease, so that the page shows each renewal. */
const MIN_TICK_MS = 250;
const MAX_TICK_MS = 1_000;
/** The pause between two looks at another member. */
const MEMBER_MS = 2_000;
/** The most members that are asked, and shown, in a second, so that a page costs a large group little. */
const MOST_A_SECOND = 50;
/** Time limit of one look. */
const TIMEOUT_MS = 2_000;
/** The terms that are kept. */
const MOST_TERMS = 50;

/** The group as the page shows it: plain JSON. Times are ISO 8601, durations milliseconds, sizes bytes. */
export interface GroupState {
  readonly at: string;
  readonly group: string;
  /** The pod that answers. */
  readonly pod: MemberId;
  readonly health: PodState['health'];
  readonly actions: boolean;
  readonly leader?: PodState['leader'];
  /** The lease at the leader, `ageMs` ago. */
  readonly lease?: {
    readonly leftMs: number;
    readonly leaseMs: number;
    readonly renewals: number;
    readonly ageMs: number;
  };
  /** The terms that this pod, and the pods that it has asked, have seen since their starts. The newest first. */
  readonly terms: readonly Term[];
  /** The start of the oldest of these pods. */
  readonly termsSince: string;
  readonly memberCount: number;
  /** Absent in most events of a large group. */
  readonly details?: GroupDetails;
}

export interface Term {
  readonly address: string;
  readonly token: string;
  readonly since: string;
}

export interface GroupDetails {
  readonly members: readonly MemberRow[];
  readonly semaphores: PodState['semaphores'];
  /** The callers that wait for locks, by pod. */
  readonly waiting: readonly { readonly lock: string; readonly address: string; readonly callers: number }[];
  readonly topics: readonly TopicRow[];
  /** The spilled data on the pods; at most 500 rows. */
  readonly spill: readonly SpillRow[];
}

/** The handlers of a topic, and what they did on all pods in the last five minutes at most. */
export interface TopicRow {
  readonly topic: string;
  readonly kind: HandledKind;
  /** The members with a handler. For `leaderOnly`: those that have run one. */
  readonly members: number;
  readonly calls: number;
  readonly perSecond: number;
  /** At most a fifth too high. Absent without calls. */
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  /** The calls that failed, by code. */
  readonly errors: Readonly<Record<string, number>>;
}

/** Spilled data of one name and owner on one pod. */
export interface SpillRow extends Omit<HeldSpill, 'owner'> {
  /** The address of the owner. Absent when the owner has left the group. */
  readonly owner?: string;
  readonly holder: string;
}

/** A member of the view. The figures are absent until it has answered, and `error` says why its last answer is missing. */
export interface MemberRow {
  readonly address: string;
  readonly incarnation: string;
  readonly answering: boolean;
  readonly confirmed: boolean;
  readonly error?: string;
  readonly role?: PodState['role'];
  readonly ready?: boolean;
  readonly version?: string;
  readonly appVersion?: string;
  readonly startedAt?: string;
  readonly links?: number;
  readonly rttMs?: number;
  readonly spill?: PodState['spill'];
  readonly eventLoop?: PodState['eventLoop'];
}

interface Answer {
  state?: PodState;
  rttMs?: number;
  error?: string;
  asking: boolean;
  askedAt: number;
  answeredAt: number;
}

export interface GroupMonitorDeps {
  readonly inspection: InspectionService;
  readonly cluster: ClusterService;
  readonly leader: LeaderService;
  readonly actions: boolean;
}

/** Asks the members for their states while somebody looks at the page. Nobody is asked otherwise. */
export class GroupMonitor {
  readonly #deps: GroupMonitorDeps;
  readonly #listeners = new Set<(json: string) => void>();
  readonly #answers = new Map<string, Answer>();
  readonly #terms = new Map<string, Term>();
  #termsSince = new Date().toISOString();
  #timer: NodeJS.Timeout | undefined;
  #askedAt = -Infinity;
  #detailedAt = -Infinity;

  constructor(deps: GroupMonitorDeps) {
    this.#deps = deps;
  }

  get watchers(): number {
    return this.#listeners.size;
  }

  /** The state after one look at the members. Of a large group, at most 50 members are asked. */
  async state(): Promise<GroupState> {
    await Promise.all([this.#askLeader(), this.#askMembers()]);
    return this.#build(true);
  }

  /**
   * @param listener called with a `GroupState` as JSON
   * @returns a function that ends the watch
   */
  watch(listener: (json: string) => void): () => void {
    this.#listeners.add(listener);
    this.#timer ??= setInterval(() => void this.#tick(), this.#tickMs);
    listener(JSON.stringify(this.#build(true)));
    void this.state().then((state) => {
      if (this.#listeners.has(listener)) listener(JSON.stringify(state));
    });
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#listeners.clear();
  }

  get #tickMs(): number {
    const { leaseMs } = this.#deps.inspection.state().timing;
    return Math.min(MAX_TICK_MS, Math.max(MIN_TICK_MS, leaseMs / 12));
  }

  async #tick(): Promise<void> {
    const now = performance.now();
    if (now - this.#askedAt >= 1_000) {
      this.#askedAt = now;
      void this.#askMembers();
    }
    // The bar of the lease needs the present answer of the leader.
    await this.#askLeader();
    if (this.#listeners.size === 0) return;
    const pauseMs = 1_000 * Math.ceil(this.#deps.cluster.members().length / MOST_A_SECOND);
    const detailed = now - this.#detailedAt >= pauseMs;
    if (detailed) this.#detailedAt = now;
    const json = JSON.stringify(this.#build(detailed));
    for (const listener of this.#listeners) listener(json);
  }

  /** Remembers the terms that a pod has seen, also when that pod leaves later. */
  #learn({ terms, process: { startedAt } }: PodState): void {
    if (startedAt < this.#termsSince) this.#termsSince = startedAt;
    for (const { member, token, since } of terms) this.#terms.set(token, { address: member.address, token, since });
    if (this.#terms.size <= MOST_TERMS) return;
    for (const [oldest] of this.#newestTerms().slice(MOST_TERMS)) this.#terms.delete(oldest);
  }

  #newestTerms(): [string, Term][] {
    return [...this.#terms].sort(([a], [b]) => (BigInt(a) < BigInt(b) ? 1 : -1));
  }

  /** Asks the leader now, unless it has not answered the last time yet. Never rejects. */
  async #askLeader(): Promise<void> {
    const leader = this.#deps.leader.leader();
    if (leader === undefined || leader.incarnation === this.#deps.cluster.self.incarnation) return;
    await this.#askOne(leader, this.#answerOf(leader));
  }

  /** Asks the members whose answers are the oldest. Never rejects. */
  async #askMembers(): Promise<void> {
    const { cluster } = this.#deps;
    const members = cluster.members();
    const known = new Set(members.map(({ incarnation }) => incarnation));
    for (const incarnation of this.#answers.keys()) if (!known.has(incarnation)) this.#answers.delete(incarnation);
    const now = performance.now();
    const due = members
      .filter(({ incarnation }) => incarnation !== cluster.self.incarnation)
      .map((member) => ({ member, answer: this.#answerOf(member) }))
      .filter(({ answer }) => now - answer.askedAt >= MEMBER_MS)
      .sort((a, b) => a.answer.askedAt - b.answer.askedAt)
      .slice(0, MOST_A_SECOND);
    await Promise.all(due.map(({ member, answer }) => this.#askOne(member, answer)));
  }

  #answerOf({ incarnation }: MemberId): Answer {
    let answer = this.#answers.get(incarnation);
    if (answer === undefined) {
      answer = { asking: false, askedAt: -Infinity, answeredAt: 0 };
      this.#answers.set(incarnation, answer);
    }
    return answer;
  }

  async #askOne(member: MemberId, answer: Answer): Promise<void> {
    if (answer.asking) return;
    answer.asking = true;
    answer.askedAt = performance.now();
    try {
      answer.state = await this.#deps.inspection.stateOf(member, { timeoutMs: TIMEOUT_MS });
      this.#learn(answer.state);
      answer.answeredAt = performance.now();
      answer.rttMs = Math.round((answer.answeredAt - answer.askedAt) * 10) / 10;
      delete answer.error;
    } catch (error) {
      answer.error = messageOf(error);
    } finally {
      answer.asking = false;
    }
  }

  #build(detailed: boolean): GroupState {
    const { inspection, cluster, actions } = this.#deps;
    const own = inspection.state();
    const members = cluster.members();
    this.#learn(own);
    return {
      at: own.at,
      group: own.group,
      pod: own.member,
      health: own.health,
      actions,
      ...(own.leader && { leader: own.leader }),
      ...this.#lease(own),
      terms: this.#newestTerms().map(([, term]) => term),
      termsSince: this.#termsSince,
      memberCount: members.length,
      ...(detailed && { details: this.#details(own) }),
    };
  }

  #lease(own: PodState): Pick<GroupState, 'lease'> {
    const incarnation = own.leader?.member.incarnation ?? '';
    const answer = this.#answers.get(incarnation);
    const state = incarnation === own.member.incarnation ? own : answer?.state;
    // An answer from another term of this leader is not about this lease.
    if (state?.lease === undefined || state.leader?.token !== own.leader?.token) return {};
    const ageMs = state === own || answer === undefined ? 0 : Math.round(performance.now() - answer.answeredAt);
    return { lease: { ...state.lease, leaseMs: state.timing.leaseMs, ageMs } };
  }

  #details(own: PodState): GroupDetails {
    const members: MemberRow[] = [];
    const waiting: { lock: string; address: string; callers: number }[] = [];
    const topics = new TopicTable();
    const spill: SpillRow[] = [];
    let semaphores: PodState['semaphores'] = [];
    for (const { address, incarnation, confirmed } of this.#deps.cluster.members()) {
      const answering = incarnation === own.member.incarnation;
      const answer = answering ? { state: own, rttMs: 0 } : this.#answers.get(incarnation);
      const { state, error } = (answer ?? {}) as Partial<Answer>;
      members.push({
        address,
        incarnation,
        answering,
        confirmed,
        ...(error !== undefined && { error }),
        ...(state && rowOf(state, answering ? undefined : answer?.rttMs)),
      });
      if (state === undefined) continue;
      if (incarnation === own.leader?.member.incarnation) semaphores = state.semaphores;
      for (const { name, waiting: callers } of state.locks) {
        if (callers > 0) waiting.push({ lock: name, address, callers });
      }
      for (const { owner, ...held } of state.spill.held) {
        if (spill.length < MOST_LISTED)
          spill.push({ ...held, holder: address, ...(owner && { owner: owner.address }) });
      }
      topics.add(state);
    }
    return { members, semaphores, waiting, topics: topics.rows(), spill };
  }
}

/** The topics of all pods, with the sums of their figures. */
class TopicTable {
  readonly #topics = new Map<
    string,
    {
      readonly topic: string;
      readonly kind: HandledKind;
      members: number;
      calls: number;
      perSecond: number;
      readonly errors: Record<string, number>;
      readonly durations: Map<number, number>;
    }
  >();

  add({ topics, handled }: PodState): void {
    for (const [kind, names] of Object.entries(topics) as [HandledKind, readonly string[]][]) {
      for (const topic of names) this.#of(kind, topic).members += 1;
    }
    for (const figures of handled.topics) this.#count(figures, handled.seconds);
  }

  rows(): TopicRow[] {
    return [...this.#topics.values()].map(({ durations, perSecond, ...topic }) => ({
      ...topic,
      perSecond: Number(perSecond.toPrecision(3)),
      ...(topic.calls > 0 && { p50Ms: percentile(durations, 0.5), p99Ms: percentile(durations, 0.99) }),
    }));
  }

  #count({ kind, topic, calls, errors, durations }: TopicFigures, seconds: number): void {
    const sums = this.#of(kind, topic);
    if (kind === 'leaderOnly') sums.members += 1;
    sums.calls += calls;
    sums.perSecond += calls / Math.max(1, seconds);
    for (const [code, count] of Object.entries(errors)) sums.errors[code] = (sums.errors[code] ?? 0) + count;
    for (const [upToMs, count] of durations) sums.durations.set(upToMs, (sums.durations.get(upToMs) ?? 0) + count);
  }

  #of(kind: HandledKind, topic: string) {
    const key = `${kind} ${topic}`;
    let sums = this.#topics.get(key);
    if (sums === undefined) {
      sums = { topic, kind, members: 0, calls: 0, perSecond: 0, errors: {}, durations: new Map() };
      this.#topics.set(key, sums);
    }
    return sums;
  }
}

/** The bound that this part of the calls does not exceed. */
function percentile(durations: ReadonlyMap<number, number>, part: number): number {
  const sorted = [...durations].sort(([a], [b]) => a - b);
  let missing = part * sorted.reduce((sum, [, count]) => sum + count, 0);
  for (const [upToMs, count] of sorted) {
    missing -= count;
    if (missing <= 0) return upToMs;
  }
  return 0;
}

function rowOf(state: PodState, rttMs: number | undefined): Partial<MemberRow> {
  return {
    role: state.role,
    ready: state.health.ready,
    version: state.version,
    ...(state.appVersion !== undefined && { appVersion: state.appVersion }),
    startedAt: state.process.startedAt,
    links: state.linkCount,
    ...(rttMs !== undefined && { rttMs }),
    spill: state.spill,
    eventLoop: state.eventLoop,
  };
}
