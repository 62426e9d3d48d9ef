import { LineLogger, type LineSink, SILENT } from '../../libs/hedge/src/common/line-logger.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import { LEADER_MESSAGE } from '../../libs/hedge/src/election/leader.service.js';
import { BROADCAST } from '../../libs/hedge/src/membership/broadcast.js';
import type { LeaderBelief, LeaderRoute } from '../../libs/hedge/src/messaging/leader-route.js';
import type { MessagingLimits } from '../../libs/hedge/src/messaging/limits.js';
import type { IncomingRequest, OutgoingRequest } from '../../libs/hedge/src/messaging/message.js';
import { Messenger } from '../../libs/hedge/src/messaging/messenger.js';
import { PayloadCodec } from '../../libs/hedge/src/messaging/serializer.js';
import { MemoryNetwork } from '../../libs/hedge/src/testing/memory-transport.js';
import { VirtualClock } from '../../libs/hedge/src/testing/virtual-clock.js';
import type { Transport } from '../../libs/hedge/src/transport/transport.js';

const codec = new PayloadCodec();

/** The state of the lease as one pod knows it. The test decides it. */
class TestRoute implements LeaderRoute {
  readonly #listeners = new Set<() => void>();
  #belief: LeaderBelief | undefined;
  reads = 0;

  constructor(private readonly readLease: () => LeaderBelief | undefined) {}

  current(): LeaderBelief | undefined {
    return this.#belief;
  }

  leads(epoch: bigint): boolean {
    return this.#belief?.self === true && this.#belief.epoch === epoch;
  }

  async refresh(): Promise<void> {
    this.reads += 1;
    this.learn();
  }

  /** Adopts the present state of the lease. */
  learn(): void {
    this.#belief = this.readLease();
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** A handler of a test: a value or a promise of one, or it throws. */
export type TestHandler = (data: unknown, request: IncomingRequest) => unknown;

export class TestPod {
  readonly messenger: Messenger;
  readonly transport: Transport;
  readonly route: TestRoute;
  /** Requests that ran on this pod, in order. */
  readonly ran: IncomingRequest[] = [];
  handler: TestHandler = (data) => data;

  constructor(
    readonly group: TestGroup,
    name: string,
    limits: Partial<MessagingLimits>,
    maxQueuedBytes?: number,
  ) {
    const self = { address: `${name}:1`, incarnation: `${name}-${group.nextIncarnation()}` };
    this.transport = group.network.transport(self, maxQueuedBytes === undefined ? {} : { maxQueuedBytes });
    this.route = new TestRoute(() => {
      const { leader, epoch } = group;
      return leader && { leader: leader.self, epoch, self: leader === this };
    });
    const { clock } = group;
    const logger = new LineLogger('Hedge', group.logger);
    const { transport, route } = this;
    this.messenger = new Messenger({ transport, clock, route, limits, random: () => 0.5, logger });
    this.transport.attach(this.messenger, this.messenger);
    for (const type of [LEADER_MESSAGE, BROADCAST]) {
      this.messenger.serve(type, async (request) => {
        this.ran.push(request);
        return codec.encode('t', await this.handler(codec.decode('t', request.payload), request));
      });
    }
  }

  get self(): MemberId {
    return this.transport.self;
  }

  /** Sends to the leader unless `to` is given. The test inspects a rejection, also a late one. */
  send(data: unknown, options: Partial<OutgoingRequest> = {}): Promise<unknown> {
    const { to = 'leader' } = options;
    const type = to === 'leader' ? LEADER_MESSAGE : BROADCAST;
    const request = { to, type, topic: 't', payload: codec.encode('t', data), timeoutMs: 10_000, ...options };
    const reply = this.messenger.request(request).then((payload) => codec.decode('t', payload));
    reply.catch(() => undefined);
    return reply;
  }
}

/** Pods on a network in memory and on a virtual clock. The test assigns the lease. */
export class TestGroup {
  readonly clock = new VirtualClock();
  readonly network = new MemoryNetwork({ clock: this.clock });
  readonly pods: TestPod[] = [];
  /** A test may replace its methods. */
  readonly logger: LineSink = { ...SILENT };
  leader: TestPod | undefined;
  epoch = 0n;
  #incarnations = 0;

  /** Pods a, b and c. Pod b leads. */
  static async ofThree(): Promise<{ group: TestGroup; a: TestPod; b: TestPod; c: TestPod }> {
    const group = new TestGroup();
    const [a, b, c] = [await group.start('a'), await group.start('b'), await group.start('c')];
    group.elect(b);
    return { group, a, b, c };
  }

  nextIncarnation(): number {
    this.#incarnations += 1;
    return this.#incarnations;
  }

  async start(name: string, limits: Partial<MessagingLimits> = {}, maxQueuedBytes?: number): Promise<TestPod> {
    const pod = new TestPod(this, name, limits, maxQueuedBytes);
    this.pods.push(pod);
    await pod.transport.listen();
    return pod;
  }

  /** Begins a new term. The given pods learn of it at once, the others when they read the lease. */
  elect(leader: TestPod | undefined, notified: readonly TestPod[] = this.pods): void {
    this.leader = leader;
    if (leader !== undefined) this.epoch += 1n;
    for (const pod of notified) pod.route.learn();
  }

  /** Delivers frames, settles promises and advances the clock by that much time, in steps as timers need. */
  async pass(ms = 0): Promise<void> {
    for (let left = ms; left > 0; left -= 10) await this.clock.advanceAsync(Math.min(left, 10));
    for (let turn = 0; turn < 6; turn += 1) await this.clock.advanceAsync(0);
  }

  async close(): Promise<void> {
    for (const pod of this.pods) pod.messenger.close();
    await Promise.all(this.pods.map((pod) => pod.transport.close()));
  }
}

/** A promise that the test settles. */
export function gate<T = void>(): { readonly opened: Promise<T>; readonly open: (value: T) => void } {
  let open!: (value: T) => void;
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
