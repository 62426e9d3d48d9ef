import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { RecordingTransport } from '../../libs/hedge/src/testing/recording-transport.js';
import { GrpcTransport } from '../../libs/hedge/src/transport/grpc/grpc-transport.js';
import type { FrameBody, Link } from '../../libs/hedge/src/transport/transport.js';
import { Encoding, RequestKind } from '../../libs/hedge/src/wire/hedge/v1/link.js';

// Handshakes are slow on a machine that is busy with other tests.
jest.setTimeout(30_000);

const MiB = 1024 * 1024;
let child: ChildProcess | undefined;
let own: RecordingTransport | undefined;

/** This process, with a link to a member in another process. */
async function linkToProcess(heartbeatTimeoutMs: number, maxQueuedBytes = 16 * MiB) {
  const process = fork(new URL('member.ts', import.meta.url), [String(heartbeatTimeoutMs)], {
    execArgv: ['--import', 'tsx'],
  });
  child = process;
  const [address] = (await once(process, 'message')) as [string];
  const recording = new RecordingTransport(
    (self) =>
      new GrpcTransport({
        group: 'orders',
        self,
        secret: async () => Buffer.from('secret'),
        heartbeatTimeoutMs,
        maxQueuedBytes,
      }),
    '',
  );
  own = recording;
  return { process, recording, link: await recording.transport.dial({ address }) };
}

afterEach(async () => {
  await own?.transport.close();
  if (child?.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

const payload = Buffer.alloc(10_000);
const request: FrameBody = {
  $case: 'request',
  value: {
    sequence: 1,
    kind: RequestKind.REQUEST_KIND_BROADCAST,
    topic: '',
    encoding: Encoding.ENCODING_BYTES,
    payload,
    timeoutMs: 1_000,
    attempt: 1,
    id: 'id',
    epoch: 0n,
  },
};

/** Sends until a frame is rejected. */
function flood(link: Link): { sent: number; refusal: unknown } {
  for (let sent = 0; ; sent++) {
    try {
      link.send(request);
    } catch (refusal) {
      return { sent, refusal };
    }
  }
}

describe('a peer whose process is paused', () => {
  it('loses its link on both sides, because pings are not answered', async () => {
    const { process, recording, link } = await linkToProcess(1_000);
    process.kill('SIGSTOP');
    await until(() => recording.closed.length > 0);
    expect(link.open).toBe(false);
    expect(recording.closed[0]?.reason.code).toBe('MEMBER_UNREACHABLE');

    const told = once(process, 'message');
    process.kill('SIGCONT');
    expect(await told).toEqual(['closed', undefined]);
    expect((await recording.transport.dial({ address: link.peer.address })).open).toBe(true);
  });

  it('uses no more memory of its sender than the queue limit, and receives all queued frames when it continues', async () => {
    const { process, recording, link } = await linkToProcess(60_000);
    process.kill('SIGSTOP');
    let sent = 0;
    const before = memory();
    for (let turn = 0; turn < 200; turn++) {
      const { sent: more, refusal } = flood(link);
      expect(refusal).toMatchObject({ code: 'OVERLOADED' });
      sent += more;
      await new Promise((resolve) => setImmediate(resolve));
    }
    // The queue, the buffers of both sockets, and the garbage of the last flush.
    expect(memory() - before).toBeLessThan(64 * MiB);
    expect(sent * payload.length).toBeLessThan(32 * MiB);

    process.kill('SIGCONT');
    const trySend = (): boolean => {
      try {
        link.send({
          $case: 'heartbeat',
          value: {
            epoch: 1n,
            version: 0,
            spill: undefined,
            acceptsChanges: true,
            capacityEdition: 0,
            candidate: undefined,
          },
        });
        return true;
      } catch {
        return false;
      }
    };
    await until(trySend);
    await until(() => recording.frames.length > 0);
    expect(recording.frames).toEqual([
      {
        $case: 'heartbeat',
        value: {
          epoch: 1n,
          version: sent,
          spill: undefined,
          acceptsChanges: true,
          capacityEdition: 0,
          candidate: undefined,
        },
      },
    ]);
  });

  it('does not delay the end of this process', async () => {
    const { process, recording, link } = await linkToProcess(60_000);
    process.kill('SIGSTOP');
    flood(link);
    await new Promise((resolve) => setImmediate(resolve));
    await recording.transport.close();
    expect(recording.closed).toHaveLength(1);
  });
});

function memory(): number {
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}
