import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { type MemberId, newIncarnation } from '../../libs/hedge/src/common/identity.js';
import { GrpcTransport } from '../../libs/hedge/src/transport/grpc/grpc-transport.js';
import type { PeerStream } from '../../libs/hedge/src/transport/streams/peer-stream.js';

// Processes start slowly on a machine that is busy with other tests.
jest.setTimeout(60_000);

const MIB = 1024 * 1024;
const CHUNK = new Uint8Array(64 * 1024).fill(1);
let child: ChildProcess | undefined;
let own: GrpcTransport | undefined;

/** This process, with a stream to a member in another process that reads on demand. */
async function streamToProcess(
  heartbeatTimeoutMs: number,
): Promise<{ stream: PeerStream; letRead: (bytes: number) => void }> {
  const process = fork(new URL('reading-member.ts', import.meta.url), [String(heartbeatTimeoutMs)], {
    execArgv: ['--import', 'tsx'],
  });
  child = process;
  const [self] = (await once(process, 'message')) as [MemberId];
  own = new GrpcTransport({
    group: 'orders',
    self: { address: '', incarnation: newIncarnation() },
    secret: async () => Buffer.from('secret'),
    heartbeatTimeoutMs,
  });
  const stream = await own.openStream(self, { purpose: 'spill', opening: new Uint8Array(0) });
  return { stream, letRead: (bytes) => process.send(bytes) };
}

afterEach(async () => {
  await own?.close();
  if (child?.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

function failureOf({ signal }: PeerStream): Promise<unknown> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason), { once: true }));
}

describe('a stream to another process', () => {
  it('buffers at most two megabytes, however much it carries to a slow reader', async () => {
    const { stream, letRead } = await streamToProcess(30_000);
    const total = 64 * MIB;
    let written = 0;
    let allowed = 0;
    const writing = (async () => {
      for (; written < total; written += CHUNK.byteLength) await stream.write(CHUNK);
      stream.end();
    })();
    while (allowed < total) {
      allowed += 16 * MIB;
      letRead(16 * MIB);
      await settled(() => written);
      expect(written).toBeLessThan(allowed + 4 * MIB);
    }
    // The reader pauses after the allowed bytes, so allow one more byte for the last message.
    letRead(1);
    await writing;
    const { value } = await stream[Symbol.asyncIterator]().next();
    expect(Buffer.from(value ?? []).toString()).toBe(String(total));
    expect(stream.signal.aborted).toBe(false);
  });

  it('fails when the other process dies', async () => {
    const { stream, letRead } = await streamToProcess(30_000);
    letRead(MIB);
    await stream.write(CHUNK);
    const failure = failureOf(stream);
    child?.kill('SIGKILL');
    expect(await failure).toMatchObject({ code: 'MEMBER_UNREACHABLE', retryable: false });
    await expect(stream.write(CHUNK)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });

  it('fails when the other process is paused', async () => {
    const { stream } = await streamToProcess(1_500);
    const failure = failureOf(stream);
    child?.kill('SIGSTOP');
    expect(await failure).toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });
});

/** Waits until a number does not change any more. */
async function settled(value: () => number): Promise<void> {
  for (let last = -1; last !== value();) {
    last = value();
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
