import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import { type FrameHeader, frameSize, stampChecksum, writeHeader } from '../../libs/hedge/src/spill/records/frame.js';
import { encodeOffer, encodeOpening, storeOf } from '../../libs/hedge/src/spill/replication/messages.js';
import type { PeerStream } from '../../libs/hedge/src/transport/streams/peer-stream.js';
import { SpillAnswer, SpillWant } from '../../libs/hedge/src/wire/hedge/v1/spill.js';
import { MB, readAll, records, SpillPods, type SpillPod, until } from './pods.js';

const PULL = { epoch: 1, session: 1, name: 's', memoryLimit: 16 * MB, diskLimit: 0 };

function frame(header: Partial<FrameHeader>, stamped = true): Buffer {
  const whole = { epoch: 1, writer: 0, sequence: 0, firstRecord: 0, records: 1, dataBytes: 8, store: '', ...header };
  const full = { continues: false, continued: false, codec: 'none' as const, ...whole };
  const bytes = Buffer.alloc(frameSize(full.records, full.dataBytes));
  writeHeader(bytes, full);
  if (stamped) stampChecksum({ header: full, bytes });
  return bytes;
}

/** A peer that has the group's secret, and does not keep the protocol. */
class Stranger {
  constructor(
    private readonly pod: SpillPod,
    private readonly holder: SpillPod,
  ) {}

  get store(): string {
    return storeOf(this.pod.self.incarnation);
  }

  give(pull = PULL): Promise<PeerStream> {
    return this.open(encodeOpening({ $case: 'give', value: pull }));
  }

  open(opening: Uint8Array): Promise<PeerStream> {
    return this.pod.transport.openStream(this.holder.self, { purpose: 'spill', opening });
  }

  async answer(stream: PeerStream): Promise<SpillAnswer> {
    for await (const message of { [Symbol.asyncIterator]: () => keptOpen(stream) }) return SpillAnswer.decode(message);
    throw new Error('The stream ended');
  }
}

/** The iterator of a stream, without cancelling the stream when the loop is left. */
function keptOpen(stream: PeerStream): AsyncIterator<Uint8Array> {
  const iterator = stream[Symbol.asyncIterator]();
  return { next: () => iterator.next() };
}

async function failure(stream: PeerStream): Promise<HedgeError> {
  await until(() => stream.signal.aborted);
  return stream.signal.reason as HedgeError;
}

describe('a peer that does not keep the protocol of spill streams', () => {
  let group: SpillPods;
  let holder: SpillPod;
  let stranger: Stranger;

  beforeEach(async () => {
    group = new SpillPods();
    holder = await group.start('b', { memory: 16 * MB });
    stranger = new Stranger(await group.start('a'), holder);
  });
  afterEach(async () => {
    // Whatever it did, the pod serves others as before.
    const other = await group.start('c');
    const store = await other.store.create('s');
    await store.writeBatch(records(6_000, 1_000));
    expect((await store.close()).shares.map(({ member }) => member.address)).toContain('b:1');
    expect((await readAll(store)).length).toBe(6_000);
    await store.drop();
    await group.close();
  });

  it.each<[string, (stream: PeerStream) => Promise<void>, string]>([
    ['a frame that it did not offer', (stream) => stream.write(frame({ store: stranger.store })), 'without room'],
    ['an offer of nothing', (stream) => stream.write(encodeOffer(0, 0)), 'offered 0 bytes'],
    ['an offer of more than a frame', (stream) => stream.write(encodeOffer(0, 2 * MB)), `offered ${2 * MB} bytes`],
    ['bytes without a meaning', (stream) => stream.write(Buffer.from([255, 1, 2, 3])), 'cannot be read'],
    ['a damaged frame', (stream) => stream.write(frame({ store: stranger.store }, false)), 'checksum'],
  ])('is told so when it sends %s', async (_, send, complaint) => {
    const stream = await stranger.give();
    await send(stream);
    expect((await failure(stream)).message).toContain(complaint);
    expect(holder.used.memory).toBe(0);
  });

  it.each<[string, Partial<FrameHeader>]>([
    ['another epoch', { epoch: 2 }],
    ['another store', { store: 'ab'.repeat(16) }],
    ['another sequence', { sequence: 9 }],
    ['more bytes than it offered', { dataBytes: 4_096 }],
  ])('is told so when the frame is of %s, and its room comes free', async (_, header) => {
    const stream = await stranger.give();
    await stream.write(encodeOffer(0, frame({}).length));
    expect((await stranger.answer(stream)).accepted).toEqual([0]);
    await stream.write(frame({ store: stranger.store, ...header }));
    expect((await failure(stream)).code).toBe('INVALID_ARGUMENT');
    await until(() => holder.used.memory === 0);
  });

  it('P2: is refused what is beyond the limit of the store, and keeps the stream', async () => {
    const stream = await stranger.give({ ...PULL, memoryLimit: 300_000 });
    await stream.write(encodeOffer(0, MB));
    expect((await stranger.answer(stream)).refused).toEqual([0]);
    await stream.write(encodeOffer(1, frame({}).length));
    expect((await stranger.answer(stream)).accepted).toEqual([1]);
    await stream.write(frame({ store: stranger.store, sequence: 1 }));
    expect((await stranger.answer(stream)).stored).toMatchObject([{ sequence: 1 }]);
  });

  it('P2: holds no memory with offers that it made before it ended its side', async () => {
    for (let session = 1; session <= 3; session += 1) {
      const stream = await stranger.give({ ...PULL, session });
      for (const sequence of [0, 1]) await stream.write(encodeOffer(sequence, MB));
      stream.end();
      // To the end of the holder's side.
      for await (const _ of stream);
      await until(() => holder.used.memory === 0);
    }
  });

  it('P2: holds no memory with an offer of a store that is dropped while it waits', async () => {
    const waiting = await stranger.give({ ...PULL, epoch: 2, memoryLimit: 300_000 });
    await waiting.write(encodeOffer(0, MB));
    expect((await stranger.answer(waiting)).refused).toEqual([0]);
    const first = await stranger.give();
    for (const sequence of [0, 1]) await first.write(encodeOffer(sequence, MB));
    await until(() => holder.used.memory === 4 * MB);
    await waiting.write(encodeOffer(1, MB));
    await holder.node?.drop({ store: stranger.store, epoch: 2, name: 's' });
    first.cancel(new HedgeError('CANCELLED', 'enough'));
    expect((await failure(waiting)).code).toBe('SPILL_UNKNOWN');
    await until(() => holder.used.memory === 0);
  });

  it('is told so when it wants more frames at once than a message of them can be taken apart', async () => {
    await stranger.give();
    const reading = await stranger.open(encodeOpening({ $case: 'read', value: { epoch: 1, name: 's' } }));
    await reading.write(SpillWant.encode({ sequences: Array.from({ length: 500_000 }, () => 0) }).finish());
    expect((await failure(reading)).message).toContain('wanted more than');
  });

  it('P1: is told at once of a frame that is held already, and it counts once', async () => {
    const stream = await stranger.give();
    for (const session of [1, 2]) {
      await stream.write(encodeOffer(0, frame({}).length));
      const answer = await stranger.answer(stream);
      if (session === 2) expect(answer).toMatchObject({ accepted: [], stored: [{ sequence: 0 }] });
      else {
        await stream.write(frame({ store: stranger.store }));
        expect(await stranger.answer(stream)).toMatchObject({ stored: [{ sequence: 0 }] });
      }
    }
  });

  it('reads nothing of others, of no store, and no frame that is not there', async () => {
    const unknown = await stranger.open(encodeOpening({ $case: 'read', value: { epoch: 7, name: 's' } }));
    expect((await failure(unknown)).code).toBe('SPILL_LOST');
    const stream = await stranger.give();
    await stream.write(encodeOffer(0, frame({}).length));
    await stranger.answer(stream);
    const reading = await stranger.open(encodeOpening({ $case: 'read', value: { epoch: 1, name: 's' } }));
    await reading.write(SpillWant.encode({ sequences: [3] }).finish());
    expect((await failure(reading)).code).toBe('SPILL_LOST');
    const nothing = await stranger.open(Buffer.alloc(0));
    expect((await failure(nothing)).code).toBe('INVALID_ARGUMENT');
    const uncalled = await stranger.open(encodeOpening({ $case: 'take', value: { epoch: 1, session: 1 } }));
    expect((await failure(uncalled)).code).toBe('SPILL_UNKNOWN');
  });
});
