import { crc32 } from 'node:zlib';
import type { Clock } from '../../libs/hedge/src/common/clock.js';
import { NamelessFiles } from '../../libs/hedge/src/spill/node/data-file.js';
import { readFrame, storeIdOf } from '../../libs/hedge/src/spill/records/frame.js';
import { asBuffer, isFrame } from '../../libs/hedge/src/spill/replication/messages.js';
import type { SpillTier } from '../../libs/hedge/src/spill/node/storage.js';
import { MemoryNetwork } from '../../libs/hedge/src/testing/memory-transport.js';
import { VirtualClock } from '../../libs/hedge/src/testing/virtual-clock.js';
import type { PeerStream, StreamTransport } from '../../libs/hedge/src/transport/streams/peer-stream.js';
import type { Transport } from '../../libs/hedge/src/transport/transport.js';
import { type DiskState, FailingDisk } from './model-disk.js';
import { type SpillPod, SpillPods } from './pods.js';

export type Fault =
  | { readonly type: 'kill'; readonly pod: number }
  | { readonly type: 'cut'; readonly pod: number; readonly other: number }
  /** No message reaches or leaves the pod for this time. */
  | { readonly type: 'stall'; readonly pod: number; readonly ms: number }
  | { readonly type: 'disk'; readonly pod: number; readonly state: DiskState };

export interface Offered {
  readonly memory: number;
  readonly disk: number;
}

/** This many turns of the event loop, in which every pod makes progress, count as this many milliseconds. */
const TURNS = 3;
const TICK_MS = 5;
/** A pod that is silent for longer may be suspended (5 s), but does not count as dead yet (15 s). */
const GIVEN_UP_MS = 3_000;
/** In real time. No step takes a hundredth of it. */
const HANGS_MS = 20_000;
/** On the clock of the pods: longer than the time after which an owner counts as dead. */
const FREED_MS = 60_000;

/** Timers of whole milliseconds, as in Node: a timer that is due a rounding error later is not due at once. */
class MillisecondClock extends VirtualClock {
  override after(ms: number, run: () => void): () => void {
    return super.after(Math.max(1, Math.ceil(ms)), run);
  }
}

/**
 * A network that checks the frames that it sends: their bytes must not change while a stream may still read them, and
 * never when the stream ended first.
 */
class WatchfulNetwork extends MemoryNetwork {
  readonly #way = new Map<object, { readonly message: Uint8Array; readonly sum: number }>();
  #changed = false;

  /** @param watches whether to check a frame, by its store and epoch */
  constructor(
    clock: Clock,
    private readonly watches: (store: string, epoch: number) => boolean,
  ) {
    super({ clock });
  }

  override transport(...options: Parameters<MemoryNetwork['transport']>): Transport & StreamTransport {
    const transport = super.transport(...options);
    const { openStream, serveStreams } = transport;
    transport.openStream = async (...call) => this.#watched(await openStream.apply(transport, call));
    transport.serveStreams = (purpose, server) =>
      serveStreams.call(transport, purpose, (stream, opening) => server(this.#watched(stream), opening));
    return transport;
  }

  check(): void {
    for (const { message, sum } of this.#way.values()) this.#changed ||= crc32(message) !== sum;
    if (this.#changed) throw new Error('The memory of a frame was reused while the frame was in flight to another pod');
  }

  #watched(stream: PeerStream): PeerStream {
    const { write } = stream;
    stream.write = (message, written) => {
      if (!isFrame(message)) return write.call(stream, message, written);
      const { store, epoch } = readFrame(asBuffer(message)).header;
      if (!this.watches(store, epoch)) return write.call(stream, message, written);
      const key = {};
      this.#way.set(key, { message, sum: crc32(message) });
      return write.call(stream, message, () => {
        this.#changed ||= crc32(message) !== this.#way.get(key)?.sum;
        this.#way.delete(key);
        written?.();
      });
    };
    return stream;
  }
}

/** One pod, the RAM and disk that it offers, and the frames that it may have lost. */
export class ModelPod {
  alive = true;
  /** Its disk could not be read in this step. */
  unreadable = false;

  constructor(
    readonly pod: SpillPod,
    readonly disk: FailingDisk,
    readonly offered: Offered,
  ) {}

  /** P2 */
  check(): void {
    const { memory, disk } = this.pod.used;
    const idle = this.pod.node?.idleBytes ?? 0;
    const within = memory + idle <= this.offered.memory && this.disk.bytes <= disk && disk <= this.offered.disk;
    if (within && Math.min(memory, disk) >= 0) return;
    const used = JSON.stringify({ memory, idle, disk, files: this.disk.bytes });
    throw new Error(`P2: ${this.pod.self.address} uses ${used} and offers ${JSON.stringify(this.offered)}`);
  }
}

/**
 * Pods, their faults, and their time. Time passes by turns of the event loop, and not while a disk is busy. So a slow
 * machine never looks like a stalled pod, and a stall of seconds takes no real time.
 */
export class World {
  readonly clock = new MillisecondClock();
  readonly #network = new WatchfulNetwork(this.clock, (store, epoch) => this.#watched.has(`${store} ${epoch}`));
  readonly #group = new SpillPods(this.clock, this.#network);
  readonly #watched = new Set<string>();
  readonly pods: ModelPod[] = [];
  /** Whether a fault has happened yet. */
  faults = 0;
  /** The pod that stalled in this step for so long that others may abandon it. */
  #silent: ModelPod | undefined;
  #wellAgain: Promise<void> = Promise.resolve();
  #over = false;
  #broken: (error: unknown) => void = () => undefined;
  readonly #failure = new Promise<never>((_, reject) => (this.#broken = reject));
  readonly #time: Promise<void>;

  /** @param delayMs the delay of a message between two pods */
  constructor(delayMs: number) {
    this.#network.delay(delayMs);
    this.#failure.catch(() => undefined);
    this.#time = this.#pass();
  }

  get living(): ModelPod[] {
    return this.pods.filter(({ alive }) => alive);
  }

  named(address: string): ModelPod | undefined {
    return this.pods.find(({ pod }) => pod.self.address === address);
  }

  /** Checks that no frame of that store changes while it is in flight. */
  watch(owner: ModelPod, epoch: number): void {
    this.#watched.add(`${storeIdOf(owner.pod.self.incarnation)} ${epoch}`);
  }

  /** Whether a read of that owner may fail to get frames of that pod in this step. */
  misses(owner: ModelPod, holder: ModelPod, tier: SpillTier): boolean {
    const silent = holder !== owner && (this.#silent === holder || this.#silent === owner);
    return !holder.alive || silent || (tier === 'disk' && holder.unreadable);
  }

  async join(offered: Offered): Promise<void> {
    let disk!: FailingDisk;
    const files = (directory: string) => (disk = new FailingDisk(new NamelessFiles(directory)));
    const pod = await this.#group.start(`pod${this.pods.length}`, { ...offered, files });
    this.pods.push(new ModelPod(pod, disk, offered));
  }

  /** Ends when the work has ended and the fault is over. */
  async step<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.#silent = undefined;
    for (const pod of this.pods) pod.unreadable = pod.disk.state === 'dead';
    const done = await this.#bounded(what, this.#untilWell(work));
    this.#network.check();
    return done;
  }

  async #untilWell<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } finally {
      await this.#wellAgain;
    }
  }

  /** @param spared the pod that is not killed */
  happen(fault: Fault, spared: ReadonlySet<ModelPod>): void {
    const { living } = this;
    const [pod, ...others] = [
      ...living.slice(fault.pod % living.length),
      ...living.slice(0, fault.pod % living.length),
    ];
    if (pod === undefined) return;
    this.faults += 1;
    switch (fault.type) {
      case 'kill':
        if (others.length === 0 || spared.has(pod)) return;
        pod.alive = false;
        return pod.pod.kill();
      case 'cut': {
        const other = others[fault.other % others.length];
        if (other !== undefined) this.#network.cut(pod.pod.self, other.pod.self);
        return;
      }
      case 'stall':
        return this.#stall(pod, others, fault.ms);
      case 'disk':
        pod.disk.state = fault.state;
        if (fault.state === 'dead') pod.unreadable = true;
    }
  }

  /** Checks that no bytes are in use after all stores were dropped. */
  async end(): Promise<void> {
    for (const { disk } of this.pods) disk.state = 'well';
    await this.step('freeing everything', async () => {
      const deadline = this.clock.now().mono + FREED_MS;
      while (this.living.some(({ pod }) => pod.used.memory + pod.used.disk > 0)) {
        if (this.clock.now().mono > deadline) {
          const left = this.living.map(({ pod }) => `${pod.self.address} ${JSON.stringify(pod.used)}`);
          throw new Error(`P2: bytes in use after all stores were dropped: ${left.join(', ')}`);
        }
        await this.tick();
      }
    });
  }

  async close(): Promise<void> {
    try {
      await this.#bounded('closing the pods', this.#group.close());
    } finally {
      this.#over = true;
      await this.#time;
    }
  }

  #stall(stalled: ModelPod, others: readonly ModelPod[], ms: number): void {
    for (const { pod } of others) this.#network.stall(stalled.pod.self, pod.self);
    if (ms >= GIVEN_UP_MS) this.#silent = stalled;
    this.#wellAgain = this.#wait(ms).then(() => {
      this.#network.heal();
      // Each pod sends a renewal before the next one stalls.
      return this.#wait(400);
    });
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.after(ms, resolve));
  }

  tick(): Promise<void> {
    return this.#wait(TICK_MS);
  }

  async #pass(): Promise<void> {
    while (!this.#over) {
      for (let turn = 0; turn < TURNS; turn += 1) await turnOfLoop();
      if (this.pods.some(({ disk }) => disk.busy > 0)) continue;
      this.clock.advance(TICK_MS);
      try {
        for (const pod of this.pods) pod.check();
      } catch (error) {
        this.#broken(error);
      }
    }
  }

  async #bounded<T>(what: string, work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const hangs = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`No end of ${what}`)), HANGS_MS);
    });
    try {
      return await Promise.race([work, this.#failure, hangs]);
    } finally {
      clearTimeout(timer);
    }
  }
}

export function turnOfLoop(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
