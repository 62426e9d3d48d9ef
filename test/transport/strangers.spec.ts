import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { newIncarnation } from '../../libs/hedge/src/common/identity.js';
import { GrpcTransport } from '../../libs/hedge/src/transport/grpc/grpc-transport.js';
import type { Attack } from './attacker.js';
import type { Report } from './guarded-pod.js';

// Processes start slowly on a machine that is busy with other tests.
jest.setTimeout(180_000);

const MB = 1_000_000;
const SECRET = 'the secret of the group';
const joined: GrpcTransport[] = [];
const running: Process[] = [];

/** A child process, with its messages. */
class Process {
  readonly #child: ChildProcess;
  readonly #inbox: unknown[] = [];
  #wake: () => void = () => undefined;

  constructor(file: string, args: readonly string[] = []) {
    this.#child = fork(new URL(file, import.meta.url), args, { execArgv: ['--import', 'tsx'] });
    this.#child.on('message', (message) => {
      this.#inbox.push(message);
      this.#wake();
    });
    this.#child.on('exit', () => this.#wake());
    running.push(this);
  }

  /** The next message. */
  async told<T>(): Promise<T> {
    while (this.#inbox.length === 0) {
      if (this.#ended) throw new Error('the process ended');
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.#inbox.shift() as T;
  }

  ask<T>(question: string): Promise<T> {
    this.#child.send(question);
    return this.told<T>();
  }

  async kill(): Promise<void> {
    if (this.#ended) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}

/** A leader in a separate process, whose memory is stable. */
async function leadingPod(): Promise<Process> {
  const pod = new Process('guarded-pod.ts');
  await pod.told();
  while (!(await pod.ask<Report>('report')).leads) await new Promise((resolve) => setTimeout(resolve, 50));
  const { address } = await pod.ask<Report>('report');
  for (let i = 0; i < 50; i++) await join(address);
  await pod.ask('report');
  return pod;
}

async function join(address: string): Promise<void> {
  const member = new GrpcTransport({
    group: 'orders',
    self: { address: '', incarnation: newIncarnation() },
    secret: async () => Buffer.from(SECRET),
    heartbeatTimeoutMs: 30_000,
  });
  joined.push(member);
  member.attach(
    { frame: () => undefined, acknowledged: () => undefined, opened: () => undefined, closed: () => undefined },
    { outstandingAt: () => [], resume: () => false },
  );
  for (;;) {
    try {
      await member.dial({ address });
      break;
    } catch {
      // Every member retries, too.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

afterEach(async () => {
  await Promise.all(joined.splice(0).map((member) => member.close()));
});

describe('strangers without the secret', () => {
  let pod: Process;
  beforeAll(async () => {
    pod = await leadingPod();
  });
  afterAll(async () => {
    for (const child of running.splice(0)) await child.kill();
  });

  it.each<Attack>([
    // The heaviest attack first, while the pod has no free memory to reuse.
    'sockets that say nothing',
    'sessions that open no stream',
    'streams that say nothing',
    'parts of large messages on many streams',
    'parts of large messages on many connections',
    'parts of large proofs from many hosts',
    'floods of streams',
    'floods of streams that are reset',
    'floods of pings whose answers nobody reads',
    'floods of settings',
    'header blocks without an end',
    'bytes that are no HTTP/2',
  ])(
    'use less than 50 MB of a leader, do not end its lease, block no member and are disconnected: %s',
    async (attack) => {
      const before = await pod.ask<Report>('report');
      const attacker = new Process('attacker.ts', [before.address, attack]);
      await attacker.told();
      // Longer than the time limit of a handshake (5 s), until which resources can be held.
      const over = performance.now() + 6_000;
      let members = 0;
      do {
        await join(before.address);
        members += 1;
        await new Promise((resolve) => setTimeout(resolve, 50));
      } while (performance.now() < over);
      const during = await pod.ask<Report>('report');
      expect(await attacker.ask('stop')).toBeGreaterThan(0);
      expect(await attacker.told()).toBe('cut');
      const after = await pod.ask<Report>('report');
      await attacker.kill();
      expect({ leads: after.leads, terms: after.terms }).toEqual({ leads: true, terms: before.terms });
      expect((Math.max(during.peak, after.peak) - before.rss) / MB).toBeLessThan(50);
      expect(members).toBeGreaterThan(0);
    },
  );
});
