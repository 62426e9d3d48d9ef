import 'reflect-metadata';
import diagnostics from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { Controller, Module, type DynamicModule, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Payload } from '@nestjs/microservices';
import { ClusterService, HedgeModule, LeaderService, OnBroadcast, OnLeaderMessage } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { answer } from './child.js';
import { MESSAGE } from './load.js';

// Several pods in one process: apps of their own, with their own connections to the database and their own port.

const { BENCH_FILE: file = '' } = process.env;

@Controller()
class EchoController {
  @OnLeaderMessage('echo')
  @OnBroadcast('echo')
  echo(@Payload() text: string): string {
    return text;
  }
}

@Module({})
class ScaleModule {
  static create(): DynamicModule {
    const hedge = HedgeModule.forRoot({ group: 'scale', address: '127.0.0.1:0', backend: sqlite({ file }) });
    return { module: ScaleModule, imports: [hedge], controllers: [EchoController] };
  }
}

/** The TCP sockets of this process, which only links and streams use. */
class Traffic {
  readonly #open = new Set<Socket>();
  #closedBytes = 0;

  constructor() {
    for (const channel of ['net.client.socket', 'net.server.socket']) {
      diagnostics.subscribe(channel, (message) => this.#opened((message as { socket: Socket }).socket));
    }
  }

  /** Written bytes: each byte on the wire is counted once in the group. */
  get bytes(): number {
    let bytes = this.#closedBytes;
    for (const socket of this.#open) bytes += socket.bytesWritten;
    return bytes;
  }

  /** Ends of open connections: two for each connection of the group. */
  get sockets(): number {
    return this.#open.size;
  }

  #opened(socket: Socket): void {
    this.#open.add(socket);
    socket.once('close', () => {
      this.#open.delete(socket);
      this.#closedBytes += socket.bytesWritten;
    });
  }
}

class Member {
  readonly cluster: ClusterService;
  readonly leader: LeaderService;

  constructor(readonly app: INestApplicationContext) {
    this.cluster = app.get(ClusterService);
    this.leader = app.get(LeaderService);
  }

  /** Resolves at the first view that is settled and has so many members, under another leader than `not`. */
  whole(members: number, not: string | undefined): Promise<number> {
    return new Promise((resolve) => {
      const subscription = this.cluster.changes$.subscribe((view) => {
        if (!view.settled || view.members.length !== members || view.leader?.address === not) return;
        resolve(monotonicMs());
        setImmediate(() => subscription.unsubscribe());
      });
    });
  }

  /** Resolves when this member knows a leader other than `not`. */
  led(not: string | undefined): Promise<number> {
    return new Promise((resolve) => {
      const subscription = this.leader.changes$.subscribe((leader) => {
        if (leader === undefined || leader.address === not) return;
        resolve(monotonicMs());
        setImmediate(() => subscription.unsubscribe());
      });
    });
  }
}

/** Sends of all members of this process, each one by one. */
class Senders {
  readonly latenciesMs: number[] = [];
  readonly failures: string[] = [];
  #stopped = false;
  readonly #callers: Promise<void>[];

  constructor(members: readonly Member[], pauseMs: number) {
    this.#callers = members.map((member) => this.#caller(member, pauseMs));
  }

  async stop(): Promise<{ readonly latenciesMs: readonly number[]; readonly failures: readonly string[] }> {
    this.#stopped = true;
    await Promise.all(this.#callers);
    return this;
  }

  async #caller(member: Member, pauseMs: number): Promise<void> {
    // Not all at the same moment.
    if (pauseMs > 0) await sleep(Math.random() * pauseMs);
    while (!this.#stopped && members.includes(member)) {
      const before = monotonicMs();
      try {
        await member.leader.send('echo', MESSAGE);
        this.latenciesMs.push(monotonicMs() - before);
      } catch (error) {
        if (!members.includes(member)) return;
        this.failures.push(String(error));
      }
      if (pauseMs > 0) await sleep(pauseMs);
    }
  }
}

const traffic = new Traffic();
const members: Member[] = [];
let senders: Senders | undefined;

async function start(): Promise<void> {
  const app = await NestFactory.createApplicationContext(ScaleModule.create(), { logger: ['error'] });
  members.push(new Member(app));
}

async function stop(index: number): Promise<void> {
  const [member] = members.splice(index, 1);
  await member?.app.close();
}

const commands = {
  /** Starts that many pods at once. */
  start: async (count: number) => {
    await Promise.all(Array.from({ length: count }, start));
  },
  addresses: () => members.map(({ cluster }) => cluster.self.address),
  /** The view of each member of this process. */
  views: () =>
    members.map(({ cluster: { self, view } }) => {
      const state = view.settled ? 'settled' : 'not settled';
      return `${self.address}: ${view.members.length} members, ${state}, led by ${view.leader?.address}`;
    }),
  leader: () => members[0]?.leader.leader()?.address,
  /** The monotonic time at which all members of this process had a whole view. */
  whole: async ({ count, not }: { count: number; not?: string }) =>
    Math.max(...(await Promise.all(members.map((member) => member.whole(count, not))))),
  /** The monotonic time at which the first member of this process knew another leader. */
  led: ({ not }: { not: string }) => Promise.race(members.map((member) => member.led(not))),
  usage: () => {
    const { user, system } = process.cpuUsage();
    const { bytes, sockets } = traffic;
    return { cpuMs: (user + system) / 1_000, bytes, sockets, rss: process.memoryUsage.rss(), members: members.length };
  },
  /** Milliseconds until all results of each of so many broadcasts had arrived. */
  broadcast: async ({ index, times }: { index: number; times: number }) => {
    const latencies: number[] = [];
    for (let time = 0; time < times; time += 1) {
      const before = monotonicMs();
      const results = (await members[index]?.cluster.broadcast('echo', MESSAGE)) ?? [];
      latencies.push(monotonicMs() - before);
      for (const { error } of results) if (error !== undefined) throw error;
    }
    return latencies;
  },
  /** Begins to send from all members of this process. */
  send: ({ pauseMs }: { pauseMs: number }) => {
    senders = new Senders([...members], pauseMs);
  },
  stopSending: async () => {
    const { latenciesMs = [], failures = [] } = (await senders?.stop()) ?? {};
    return { latenciesMs, failures };
  },
  /** Closes the app of the member with that address. */
  close: (address: string) => stop(members.findIndex(({ cluster }) => cluster.self.address === address)),
  /** Stops the oldest member of this process, and starts another one. */
  restart: async () => {
    await stop(0);
    await start();
  },
  /** Stops all but that many members of this process at once. */
  keep: async (count: number) => {
    await Promise.all(members.splice(count).map(({ app }) => app.close()));
  },
};
export type ScaleCommands = typeof commands;
answer(commands);

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The same clock in all processes. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
