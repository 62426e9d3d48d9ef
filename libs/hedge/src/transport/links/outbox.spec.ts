import { describe, expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import type { MessageStream } from '../streams/message-stream.js';
import { Outbox } from './outbox.js';
import type { FrameBody } from '../transport.js';
import { Encoding, Envelope, RequestKind } from '../../wire/hedge/v1/link.js';

/** A stream that records writes, and is as slow as the test requires. */
class SlowStream implements MessageStream {
  readonly remote = 'b:1';
  readonly messages: Envelope[] = [];
  room = true;
  private readonly unread: (() => void)[] = [];

  attach(): void {}
  admitted(): void {}
  pause(): void {}
  resume(): void {}
  end(): void {}
  finish(): void {}

  write(message: Uint8Array, written: () => void): boolean {
    this.messages.push(Envelope.decode(message));
    this.unread.push(written);
    return this.room;
  }

  read(): void {
    this.unread.splice(0).forEach((written) => written());
  }
}

function request(bytes: number, sequence = 1): FrameBody {
  const value = {
    sequence,
    kind: RequestKind.REQUEST_KIND_LEADER_MESSAGE,
    topic: 't',
    encoding: Encoding.ENCODING_BYTES,
    payload: Buffer.alloc(bytes),
    timeoutMs: 1_000,
    attempt: 1,
    id: 'id',
    epoch: 1n,
  };
  return { $case: 'request', value };
}

function setUp(limits = { maxMessageBytes: 1_000_000, maxQueuedBytes: 3_000_000 }) {
  const stream = new SlowStream();
  const clock = new VirtualClock();
  const turns: (() => void)[] = [];
  const outbox = new Outbox('b:1', stream, limits, clock, (run) => turns.push(run));
  const endTurn = (): void => turns.splice(0).forEach((run) => run());
  return { stream, clock, outbox, endTurn };
}

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('Outbox', () => {
  it('frames of one turn leave as one envelope, in order', () => {
    const { stream, outbox, endTurn } = setUp();
    for (let sequence = 1; sequence <= 100; sequence++) outbox.push(request(100, sequence));
    expect(stream.messages).toEqual([]);
    endTurn();
    expect(stream.messages).toHaveLength(1);
    expect(stream.messages[0]?.frames.map(({ body }) => body)).toEqual(
      Array.from({ length: 100 }, (_, i) => request(100, i + 1)),
    );
  });

  it('splits a batch that is too large for one envelope, and never a frame', () => {
    const { stream, outbox, endTurn } = setUp();
    for (const bytes of [100_000, 100_000, 100_000, 900_000, 10]) outbox.push(request(bytes));
    endTurn();
    expect(stream.messages.map(({ frames }) => frames.length)).toEqual([2, 1, 1, 1]);
  });

  it('rejects a frame over the limit, and names both numbers', () => {
    const { stream, outbox, endTurn } = setUp();
    expect(() => outbox.push(request(1_000_001))).toThrow(
      expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE', details: { bytes: 1_000_001, limit: 1_000_000 } }),
    );
    expect(() => outbox.push(request(1_000_001))).toThrow(/1000001 bytes .* 1000000 bytes/);
    outbox.push(request(1_000_000));
    endTurn();
    expect(stream.messages).toHaveLength(1);
  });

  it('holds frames back while the stream is full, and continues after it drained', () => {
    const { stream, outbox, endTurn } = setUp();
    stream.room = false;
    outbox.push(request(1, 1));
    endTurn();
    outbox.push(request(1, 2));
    outbox.push(request(1, 3));
    endTurn();
    expect(stream.messages).toHaveLength(1);
    outbox.drained();
    expect(stream.messages.map(({ frames }) => frames.length)).toEqual([1, 2]);
  });

  it('is bounded in bytes, including written bytes that the peer has not read', () => {
    const { stream, outbox, endTurn } = setUp();
    stream.room = false;
    const fill = (): number => {
      let pushed = 0;
      try {
        for (; ; pushed++) {
          outbox.push(request(10_000));
          endTurn();
        }
      } catch (error) {
        expect(error).toEqual(code('OVERLOADED'));
      }
      return pushed;
    };
    const first = fill();
    expect(first).toBeGreaterThan(290);
    expect(first).toBeLessThanOrEqual(300);
    expect(fill()).toBe(0);
    stream.read();
    expect(fill()).toBe(1);
    stream.room = true;
    outbox.drained();
    stream.read();
    expect(fill()).toBe(first);
  });

  it('accepts heartbeats and renewals behind a queue full of messages, within a bound', () => {
    const { stream, outbox, endTurn } = setUp({ maxMessageBytes: 1_000_000, maxQueuedBytes: 2_000_000 });
    stream.room = false;
    outbox.push(request(1_000_000));
    endTurn();
    outbox.push(request(999_000));
    expect(() => outbox.push(request(10_000))).toThrow(code('OVERLOADED'));
    const heartbeat: FrameBody = {
      $case: 'heartbeat',
      value: {
        epoch: 1n,
        version: 1,
        spill: undefined,
        acceptsChanges: true,
        capacityEdition: 0,
        candidate: undefined,
      },
    };
    const renewal = request(400_000);
    outbox.push(heartbeat);
    outbox.push(renewal, true);
    outbox.push(renewal, true);
    expect(() => outbox.push(renewal, true)).toThrow(code('OVERLOADED'));
    stream.room = true;
    stream.read();
    outbox.drained();
    expect(stream.messages.flatMap(({ frames }) => frames)).toHaveLength(5);
  });

  it('acknowledgements travel with the next envelope', () => {
    const { stream, outbox, endTurn } = setUp();
    outbox.acknowledge(7);
    outbox.acknowledge(8);
    endTurn();
    expect(stream.messages).toEqual([]);
    outbox.push(request(1));
    endTurn();
    expect(stream.messages).toMatchObject([{ acknowledged: [7, 8], frames: [{}] }]);
  });

  it('acknowledgements leave in an envelope of their own after a second', () => {
    const { stream, clock, outbox } = setUp();
    outbox.acknowledge(7);
    clock.advance(999);
    expect(stream.messages).toEqual([]);
    clock.advance(1);
    expect(stream.messages).toEqual([{ acknowledged: [7], frames: [] }]);
    clock.advance(10_000);
    expect(stream.messages).toHaveLength(1);
    expect(clock.nextTimerMs()).toBeUndefined();
  });

  it('many acknowledgements do not wait', () => {
    const { stream, outbox, endTurn } = setUp();
    for (let sequence = 1; sequence <= 1_024; sequence++) outbox.acknowledge(sequence);
    endTurn();
    expect(stream.messages[0]?.acknowledged).toHaveLength(1_024);
  });

  it('finish writes all queued frames, and nothing is written after it', () => {
    const { stream, clock, outbox, endTurn } = setUp();
    stream.room = false;
    outbox.push(request(1, 1));
    endTurn();
    outbox.push(request(1, 2));
    outbox.acknowledge(1);
    outbox.finish();
    expect(stream.messages).toHaveLength(2);
    outbox.drained();
    clock.advance(10_000);
    expect(stream.messages).toHaveLength(2);
  });
});
