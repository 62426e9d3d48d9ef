import { expect } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FreeSpace } from '../../libs/hedge/src/membership/capacity-table.js';
import { type Clock, systemClock } from '../../libs/hedge/src/common/clock.js';
import { HedgeError, type HedgeErrorCode } from '../../libs/hedge/src/common/errors.js';
import { type MemberId, newIncarnation } from '../../libs/hedge/src/common/identity.js';
import { StartGate } from '../../libs/hedge/src/common/async/start-gate.js';
import { Messenger } from '../../libs/hedge/src/messaging/messenger.js';
import type { DataDisk } from '../../libs/hedge/src/spill/node/data-file.js';
import { SpillNode } from '../../libs/hedge/src/spill/node/spill-node.js';
import type { RecordRange as SpillRange } from '../../libs/hedge/src/spill/service/frame-reader.js';
import type { SpilledData } from '../../libs/hedge/src/spill/service/spilled-data.js';
import { SpillRuntime } from '../../libs/hedge/src/spill/service/spill-runtime.js';
import type { SpillStore } from '../../libs/hedge/src/spill/service/spill.store.js';
import { MemoryNetwork } from '../../libs/hedge/src/testing/memory-transport.js';
import type { StreamTransport } from '../../libs/hedge/src/transport/streams/peer-stream.js';
import type { Transport } from '../../libs/hedge/src/transport/transport.js';
import { SPILL_RENEWAL } from '../../libs/hedge/src/spill/replication/replica-client.js';

export const MB = 1024 * 1024;

export interface PodOptions {
  readonly memory?: number;
  readonly disk?: number;
  /** A client, which no pod can call. */
  readonly client?: boolean;
  /** It has not advertised its capacity. */
  readonly silent?: boolean;
  /** The files of its disk in the directory; for a disk that fails. */
  readonly files?: (directory: string) => DataDisk;
}

/** One pod with only the parts for spilled data. */
export class SpillPod {
  readonly runtime: SpillRuntime;
  readonly transport: Transport & StreamTransport;
  node: SpillNode | undefined;

  constructor(
    private readonly group: SpillPods,
    readonly self: MemberId,
    options: PodOptions,
  ) {
    const transport = group.network.transport(self);
    this.transport = transport;
    const { clock } = group;
    const route = {
      current: () => undefined,
      leads: () => false,
      refresh: async () => undefined,
      onChange: () => () => undefined,
    };
    const messenger = new Messenger({ transport, clock, route });
    transport.attach(messenger, messenger);
    this.runtime = new SpillRuntime({
      gate: StartGate.opened(),
      streams: transport,
      messenger: {
        serve: (type, handler) => messenger.serve(type, handler),
        request: (request) => {
          if (request.type === SPILL_RENEWAL) group.renewals += 1;
          return messenger.request(request);
        },
      },
      membership: group.viewsOf(self, options.silent),
      clock,
      timing: { heartbeatMs: 20, heartbeatTimeoutMs: group.heartbeatTimeoutMs },
      openNode: async () => {
        const { memory = 4 * MB, disk = 0 } = options;
        const directory = await group.directory();
        const files = options.files && { files: options.files(directory) };
        this.node = await SpillNode.open({ memory, disk, directory, minFreeDisk: 0, clock, ...files });
        return this.node;
      },
      logger: { warn: () => undefined },
    });
    this.closed = async () => {
      await this.runtime.close();
      messenger.close();
      await transport.close();
    };
    this.listening = options.client === true ? Promise.resolve() : transport.listen();
  }

  readonly closed: () => Promise<void>;
  readonly listening: Promise<void>;

  get store(): SpillStore {
    return this.runtime.store;
  }

  /** Bytes in use, by tier. */
  get used(): { memory: number; disk: number } {
    return this.node?.used() ?? { memory: 0, disk: 0 };
  }

  /** As `kill -9`: sends no message, and answers none from now on. */
  kill(): void {
    this.group.network.kill(this.self);
    this.group.leave(this.self);
  }
}

/** Pods on a network in memory, with a view that the test sets. */
export class SpillPods {
  readonly pods: SpillPod[] = [];
  /** Short where a test waits for it, else long enough for a machine that runs other tests. */
  heartbeatTimeoutMs = 5_000;
  /** Renewals that all owners have sent. */
  renewals = 0;
  readonly #members = new Map<string, MemberId>();
  readonly #spaces = new Map<string, FreeSpace>();
  readonly #listeners = new Set<() => void>();
  readonly #directories: string[] = [];

  constructor(
    readonly clock: Clock = systemClock,
    readonly network = new MemoryNetwork({ clock }),
  ) {}

  async start(name: string, options: PodOptions = {}): Promise<SpillPod> {
    const self = { address: options.client === true ? '' : `${name}:1`, incarnation: newIncarnation() };
    const pod = new SpillPod(this, self, options);
    this.pods.push(pod);
    await pod.runtime.open();
    await pod.listening;
    if (options.client !== true) this.join(self);
    return pod;
  }

  join(member: MemberId): void {
    this.#members.set(member.incarnation, member);
    for (const listener of this.#listeners) listener();
  }

  leave(member: MemberId): void {
    this.#members.delete(member.incarnation);
    for (const listener of this.#listeners) listener();
  }

  viewsOf(self: MemberId, silent = false) {
    const members = () => [...this.#members.values()].map((member) => ({ ...member, confirmed: true }));
    const spaces = this.#spaces;
    return {
      get view() {
        return { epoch: 1n, version: 1, settled: true, leader: self, members: members() };
      },
      spaces,
      advertise: (capacity: FreeSpace) => void (silent || spaces.set(self.incarnation, capacity)),
      onChange: (listener: () => void) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
    };
  }

  async directory(): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), 'hedge-spill-'));
    this.#directories.push(directory);
    return directory;
  }

  async close(): Promise<void> {
    await Promise.all(this.pods.map((pod) => pod.closed()));
    for (const directory of this.#directories) await rm(directory, { recursive: true, force: true });
  }
}

/** Waits until the condition is true. The limit of the test is the time limit. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => void setTimeout(resolve, 5));
}

export async function readAll(store: SpilledData, range: Partial<SpillRange> = {}): Promise<Buffer[]> {
  const all: Buffer[] = [];
  for await (const record of store.read(range)) all.push(record);
  return all;
}

/** Whether both lists have the same records. */
export function same(read: readonly Buffer[], written: readonly Buffer[]): boolean {
  return read.length === written.length && read.every((record, i) => record.equals(written[i] as Buffer));
}

/** The HedgeError with which it fails. */
export async function errorOf(work: () => Promise<unknown>): Promise<HedgeError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof HedgeError) return error;
    throw error;
  }
  throw new Error('No error was thrown');
}

export async function expectError(
  work: Promise<unknown> | (() => Promise<unknown>),
  code: HedgeErrorCode,
): Promise<void> {
  expect(await errorOf(() => (typeof work === 'function' ? work() : work))).toMatchObject({ code });
}

/** Different records of about that size. */
export function records(count: number, bytes = 100): Buffer[] {
  return Array.from({ length: count }, (_, i) => Buffer.alloc(bytes, `record ${i} `));
}
