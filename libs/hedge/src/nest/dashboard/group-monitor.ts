import { messageOf } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import type { LeaderService } from '../../election/leader.service.js';
import type { InspectionService } from '../../inspection/inspection.service.js';
import type { HandledTopics, PodState } from '../../inspection/pod-state.js';
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
  /** The terms that this pod has seen since its start, the newest first. */
  readonly terms: readonly Term[];
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
  readonly topics: readonly { readonly topic: string; readonly kind: keyof HandledTopics; readonly members: number }[];
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
  readonly #terms: Term[] = [];
  readonly #changes: { unsubscribe(): void };
  #timer: NodeJS.Timeout | undefined;
  #askedAt = -Infinity;
  #detailedAt = -Infinity;

  constructor(deps: GroupMonitorDeps) {
    this.#deps = deps;
    this.#changes = deps.leader.changes$.subscribe((leader) => {
      if (leader !== undefined) this.#recordTerm();
    });
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
    this.#changes.unsubscribe();
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

  #recordTerm(): void {
    const { leader } = this.#deps.inspection.state();
    if (leader === undefined || leader.token === this.#terms[0]?.token) return;
    this.#terms.unshift({ address: leader.member.address, token: leader.token, since: leader.since });
    this.#terms.length = Math.min(this.#terms.length, MOST_TERMS);
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
    return {
      at: own.at,
      group: own.group,
      pod: own.member,
      health: own.health,
      actions,
      ...(own.leader && { leader: own.leader }),
      ...this.#lease(own),
      terms: this.#terms,
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
    const topics = new Map<string, { topic: string; kind: keyof HandledTopics; members: number }>();
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
      for (const [kind, names] of Object.entries(state.topics) as [keyof HandledTopics, readonly string[]][]) {
        for (const topic of names) {
          const key = `${kind} ${topic}`;
          const counted = topics.get(key) ?? { topic, kind, members: 0 };
          counted.members += 1;
          topics.set(key, counted);
        }
      }
    }
    return { members, semaphores, waiting, topics: [...topics.values()] };
  }
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
