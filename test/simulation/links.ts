import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import type { MemberId } from '../../libs/hedge/src/common/identity.js';
import type { Network } from './network.js';
import type { Random } from './random.js';
import type { World } from './world.js';

/** One end of links: the calls of the transport to the request layer, also in the handshake. */
export interface LinkEnd {
  readonly self: MemberId;
  readonly alive: boolean;
  /** Runs an action on this end's machine, unless its process has died by then. */
  run(action: () => void): void;
  after(ms: number, action: () => void): void;
  outstandingAt(receiver: MemberId): readonly number[];
  resume(caller: MemberId, outstanding: readonly number[]): boolean;
  linked(link: Link, resumed: boolean): void;
  unlinked(link: Link): void;
  callerCame(link: Link): void;
  callerLeft(link: Link): void;
}

/**
 * A link from a caller to a receiver, as the transport guarantees it: in order in each direction, until it
 * breaks. Then each end notices at its own time, and frames in flight may arrive or not.
 */
export class Link {
  callerOpen = false;
  receiverOpen = false;
  #broken = false;
  #lost = { toReceiver: false, toCaller: false };
  #last = { toReceiver: 0, toCaller: 0 };

  constructor(
    private readonly links: Links,
    readonly caller: LinkEnd,
    readonly receiver: LinkEnd,
    readonly generation: number,
  ) {}

  get broken(): boolean {
    return this.#broken;
  }

  toReceiver(arrive: () => void): void {
    if (this.callerOpen) this.#send('toReceiver', this.receiver, () => this.receiverOpen, arrive);
  }

  toCaller(arrive: () => void): void {
    if (this.receiverOpen) this.#send('toCaller', this.caller, () => this.callerOpen, arrive);
  }

  break(): void {
    if (this.#broken) return;
    this.#broken = true;
    const { random, world } = this.links;
    world.count('links: broken');
    this.#lost = { toReceiver: random.chance(0.5), toCaller: random.chance(0.5) };
    world.after(random.skewed(1, 500), () => this.caller.run(() => this.closeAtCaller()));
    world.after(random.skewed(1, 500), () => this.receiver.run(() => this.closeAtReceiver()));
  }

  closeAtCaller(): void {
    if (!this.callerOpen) return;
    this.callerOpen = false;
    this.caller.unlinked(this);
  }

  closeAtReceiver(): void {
    if (!this.receiverOpen) return;
    this.receiverOpen = false;
    this.receiver.callerLeft(this);
  }

  #send(way: 'toReceiver' | 'toCaller', to: LinkEnd, open: () => boolean, arrive: () => void): void {
    const { network, world } = this.links;
    if (this.#broken) return;
    if (network.breaks() || network.separated(this.caller.self.address, this.receiver.self.address))
      return this.break();
    const at = Math.max(this.#last[way], world.now + network.delay(to.self.address));
    this.#last[way] = at;
    world.after(at - world.now, () => {
      if (!this.#lost[way]) to.run(() => (open() ? arrive() : undefined));
    });
  }
}

const DIAL_TIMEOUT_MS = 1_000;

/** Makes links, with the handshake of the real transport: generations, outstanding requests, resumption. */
export class Links {
  readonly #open = new Set<Link>();
  /** The newest link of each caller to each receiver. */
  readonly #admitted = new Map<string, Link>();
  #generation = 0;

  constructor(
    readonly world: World,
    readonly network: Network,
    readonly random: Random,
    private readonly endAt: (address: string) => LinkEnd | undefined,
  ) {}

  dial(caller: LinkEnd, member: MemberId, failed: (error: HedgeError) => void): void {
    const { world, network } = this;
    this.#generation += 1;
    const generation = this.#generation;
    let waiting = true;
    const fail = (why: string, details = {}): void => {
      if (!waiting) return;
      waiting = false;
      world.count('links: dial failed');
      failed(new HedgeError('MEMBER_UNREACHABLE', why, { details }));
    };
    caller.after(DIAL_TIMEOUT_MS, () => fail('timed out'));
    const step = (to: LinkEnd, action: () => void): void => {
      if (network.separated(caller.self.address, member.address) || network.breaks()) return;
      world.after(network.delay(to.self.address), () => to.run(action));
    };
    const receiver = this.endAt(member.address);
    if (receiver === undefined || !receiver.alive) {
      return void world.after(network.delay(caller.self.address), () => caller.run(() => fail('refused')));
    }
    if (receiver.self.incarnation !== member.incarnation) {
      return step(caller, () => fail('another process', { incarnation: receiver.self.incarnation }));
    }
    const link = new Link(this, caller, receiver, generation);
    const welcome = (resumed: boolean): void => {
      if (!waiting) return link.break();
      // Else the caller would consider a link open whose end it was notified of.
      if (link.broken) return fail('broke in the handshake');
      waiting = false;
      link.callerOpen = true;
      caller.linked(link, resumed);
    };
    // Hello, Challenge, Proof, Welcome.
    step(receiver, () =>
      step(caller, () => {
        const outstanding = [...caller.outstandingAt(member)];
        step(receiver, () => {
          if (!this.#admit(link)) return;
          const resumed = receiver.resume(caller.self, outstanding);
          receiver.callerCame(link);
          step(caller, () => welcome(resumed));
        });
      }),
    );
  }

  /** Breaks the open links between two addresses, or all links of one. */
  cut(address: string, other?: string): void {
    for (const link of this.#open) {
      const ends = [link.caller.self.address, link.receiver.self.address];
      if (ends.includes(address) && (other === undefined || ends.includes(other))) {
        link.break();
        this.#open.delete(link);
      }
    }
  }

  /** Rejects a link that is older than the newest; the newest closes the previous one. */
  #admit(link: Link): boolean {
    const name = `${link.caller.self.incarnation}>${link.receiver.self.incarnation}`;
    const newest = this.#admitted.get(name);
    if (newest !== undefined && newest.generation > link.generation) {
      this.world.count('links: older one refused');
      return false;
    }
    newest?.closeAtReceiver();
    this.#admitted.set(name, link);
    this.#open.add(link);
    link.receiverOpen = true;
    return true;
  }
}
