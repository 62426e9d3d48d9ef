import { Subscription, type Observable } from 'rxjs';
import type { LineSink } from '../common/line-logger.js';
import { forEachAtOnce } from '../common/async/for-each-at-once.js';
import { HedgeError, messageOf } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import type { Backend } from '../database/backend.js';
import type { LeaseRecord } from '../database/lease-table.js';
import { leaseName } from '../database/row-names.js';
import type { LeaderState, PodState } from '../inspection/pod-state.js';
import type { ClusterView } from '../membership/cluster.service.js';
import { withoutHandlers } from '../pod/handlers.js';
import { HedgePod } from '../pod/hedge-pod.js';
import type { PodSettings } from '../pod/settings.js';
import type { TransportFactory } from '../pod/transport-factory.js';
import { GrpcTransport } from '../transport/grpc/grpc-transport.js';
import { CommandFailed } from './exit-codes.js';

/** Inspections that run at once. */
const MOST_INSPECTIONS = 16;

/** The answer of a member, or the reason why there is none. */
export type MemberAnswer =
  | { readonly member: MemberId; readonly confirmed: boolean; readonly state: PodState; readonly error?: undefined }
  | { readonly member: MemberId; readonly confirmed: boolean; readonly state?: undefined; readonly error: unknown };

/**
 * A client of the group for one command: a pod with `mode: 'client'`. It reads the lease of the group, dials the leader and
 * the members that it asks, and authenticates as pods do. It opens no port, never campaigns and is in no view.
 */
export class Session {
  readonly pod: HedgePod;
  readonly #backend: Backend;

  private constructor(
    readonly settings: PodSettings,
    backend: Backend,
    logger: LineSink,
  ) {
    this.#backend = backend;
    this.pod = new HedgePod({
      // The pod and the session share the connections.
      settings: { ...settings, backend: { create: () => backend } },
      makeTransport: clientTransport,
      makeHandlers: withoutHandlers,
      makeLogger: () => logger,
    });
  }

  /**
   * @throws HedgeError BACKEND_UNAVAILABLE, INVALID_OPTIONS
   */
  static async open(settings: PodSettings, logger: LineSink): Promise<Session> {
    const backend = settings.backend.create({ timeoutMs: settings.timing.backendTimeoutMs });
    try {
      await openInTime(backend, settings);
      const session = new Session(settings, backend, logger);
      await session.pod.start();
      return session;
    } catch (error) {
      await backend.close();
      throw error;
    }
  }

  get backend(): Backend {
    return this.#backend;
  }

  /** Reads the lease of the group from the database. */
  lease(): Promise<LeaseRecord> {
    return this.#backend.lease.read(leaseName(this.settings.group));
  }

  /**
   * The holder of the lease, with its token.
   * @throws CommandFailed when there is no leader
   */
  async leader(): Promise<{ readonly member: MemberId; readonly token: bigint }> {
    const { holder, token } = await this.lease();
    if (holder !== undefined) return { member: holder, token };
    const { group } = this.settings;
    const name = this.#backend.name;
    throw new CommandFailed(
      'notFound',
      token === 0n
        ? `Group ${group} has never had a leader in ${name}. Check the group, the database and the tables, and that a pod runs.`
        : `Group ${group} has no leader: its lease in ${name} is free. Check that a pod runs and can reach the database.`,
    );
  }

  /**
   * Asks a member for its state.
   * @throws HedgeError as `InspectionService.stateOf`
   */
  stateOf(member: MemberId): Promise<PodState> {
    return this.pod.inspection.stateOf(member);
  }

  /** Asks the leader for its view, and each member in it for its state. In the order of the view. */
  async members(): Promise<{ readonly leader: PodState; readonly answers: readonly MemberAnswer[] }> {
    const { member } = await this.leader();
    const leader = await this.stateOf(member);
    const members = leader.view?.members ?? [];
    const answers: MemberAnswer[] = [];
    await forEachAtOnce(MOST_INSPECTIONS, members, async ({ confirmed, ...member }, place) => {
      answers[place] =
        member.incarnation === leader.member.incarnation
          ? { member, confirmed, state: leader }
          : await this.stateOf(member).then(
              (state) => ({ member, confirmed, state }),
              (error: unknown) => ({ member, confirmed, error }),
            );
    });
    return { leader, answers };
  }

  /** The leader that this client follows, as far as it has read the lease. */
  get knownLeader(): LeaderState | undefined {
    return this.pod.inspection.state().leader;
  }

  /**
   * Waits until this client follows a leader with another token.
   * @throws HedgeError NO_LEADER when there is none in time
   */
  leaderOtherThan(token: string | undefined): Promise<LeaderState> {
    const { group, defaultTimeoutMs } = this.settings;
    const read = (): LeaderState | undefined => {
      const leader = this.knownLeader;
      return leader?.token === token ? undefined : leader;
    };
    const none = `Group ${group} had no ${token === undefined ? '' : 'other '}leader within ${defaultTimeoutMs} ms. Run status, or raise --timeout.`;
    return this.#firstOf(this.pod.leader.changes$, read, () => new HedgeError('NO_LEADER', none));
  }

  /**
   * The first view that the leader sends to this client.
   * @throws CommandFailed when there is no leader; HedgeError MEMBER_UNREACHABLE when none arrives in time
   */
  async view(): Promise<ClusterView> {
    const { member } = await this.leader();
    const { cluster } = this.pod;
    const late = `The leader ${member.address} sent no view within ${this.settings.defaultTimeoutMs} ms. Check that this machine can reach it: run doctor.`;
    const read = (): ClusterView | undefined => (cluster.view.members.length === 0 ? undefined : cluster.view);
    return this.#firstOf(cluster.changes$, read, () => new HedgeError('MEMBER_UNREACHABLE', late));
  }

  /** The first value that can be read, now or after a change. */
  #firstOf<Value>(changes: Observable<unknown>, read: () => Value | undefined, late: () => Error): Promise<Value> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const value = read();
        if (value === undefined) return;
        clearTimeout(timer);
        subscription.unsubscribe();
        resolve(value);
      };
      const timer = setTimeout(() => (subscription.unsubscribe(), reject(late())), this.settings.defaultTimeoutMs);
      const subscription = new Subscription();
      subscription.add(changes.subscribe(look));
      look();
    });
  }

  async close(): Promise<void> {
    await this.pod.leave();
    await this.pod.close();
  }
}

/** A pod would try for ever. A command fails at a refusal, or when there is no answer within its time limit. */
async function openInTime(backend: Backend, { timing, defaultTimeoutMs }: PodSettings): Promise<void> {
  const begun = performance.now();
  for (let start = begun; ; start = performance.now()) {
    try {
      return await backend.open();
    } catch (error) {
      const now = performance.now();
      if (now - start < timing.backendTimeoutMs / 2 || now - begun >= defaultTimeoutMs) throw error;
    }
  }
}

/** Names why a member gave no answer, as a part of a sentence. */
export function whyNoAnswer(error: unknown): string {
  const old = error instanceof HedgeError && (error.code === 'NO_HANDLER' || error.code === 'NOT_LEADER');
  return old ? 'runs a version without inspection' : messageOf(error).replace(/\.$/, '');
}

/** Sends no durations: the pods would warn of a member with other ones, and a client has no lease of the group. */
const clientTransport: TransportFactory = ({ settings, incarnation, secret, logger }) => {
  const { group, timing, limits } = settings;
  const tls = settings.tls.reveal();
  const transport = new GrpcTransport({
    group,
    secret,
    logger,
    self: { address: '', incarnation },
    heartbeatTimeoutMs: timing.heartbeatTimeoutMs,
    maxMessageBytes: limits.maxMessageBytes,
    maxQueuedBytes: limits.maxQueuedBytes,
    ...(tls && { tls }),
  });
  return { transport, source: '' };
};
