import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../libs/hedge/src/common/errors.js';
import {
  type FrameHeader,
  frameSize,
  stampChecksum,
  storeIdOf,
  writeHeader,
} from '../../libs/hedge/src/spill/records/frame.js';
import { encodeOffer, encodeOpening } from '../../libs/hedge/src/spill/replication/messages.js';
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

/** A peer that has the group's secret and violates the protocol. */
class FaultyPeer {
  constructor(
    private readonly pod: SpillPod,
    private readonly holder: SpillPod,
  ) {}

  get store(): string {
    return storeIdOf(this.pod.self.incarnation);
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

describe('a peer that violates the protocol of spill streams', () => {
  let group: SpillPods;
  let holder: SpillPod;
  let peer: FaultyPeer;

  beforeEach(async () => {
    group = new SpillPods();
    holder = await group.start('b', { memory: 16 * MB });
    peer = new FaultyPeer(await group.start('a'), holder);
  });
  afterEach(async () => {
    // After any violation the pod serves others as before.
    const other = await group.start('c');
    const store = await other.store.create('s');
    await store.writeBatch(records(6_000, 1_000));
    expect((await store.close()).shares.map(({ member }) => member.address)).toContain('b:1');
    expect((await readAll(store)).length).toBe(6_000);
    await store.drop();
    await group.close();
  });

  it.each<[string, (stream: PeerStream) => Promise<void>, string]>([
    ['a frame that it did not offer', (stream) => stream.write(frame({ store: peer.store })), 'without reserved room'],
    ['an offer of nothing', (stream) => stream.write(encodeOffer(0, 0)), 'offered 0 bytes'],
    ['an offer of more than a frame', (stream) => stream.write(encodeOffer(0, 2 * MB)), `offered ${2 * MB} bytes`],
    ['bytes that are no message', (stream) => stream.write(Buffer.from([255, 1, 2, 3])), 'cannot be read'],
    ['a damaged frame', (stream) => stream.write(frame({ store: peer.store }, false)), 'checksum'],
  ])('receives an error when it sends %s', async (_, send, complaint) => {
    const stream = await peer.give();
    await send(stream);
    expect((await failure(stream)).message).toContain(complaint);
    expect(holder.used.memory).toBe(0);
  });

  it.each<[string, Partial<FrameHeader>]>([
    ['another epoch', { epoch: 2 }],
    ['another store', { store: 'ab'.repeat(16) }],
    ['another sequence', { sequence: 9 }],
    ['more bytes than it offered', { dataBytes: 4_096 }],
  ])('receives an error when it sends a frame of %s, and the holder frees the room', async (_, header) => {
    const stream = await peer.give();
    await stream.write(encodeOffer(0, frame({}).length));
    expect((await peer.answer(stream)).accepted).toEqual([0]);
    await stream.write(frame({ store: peer.store, ...header }));
    expect((await failure(stream)).code).toBe('INVALID_ARGUMENT');
    await until(() => holder.used.memory === 0);
  });

  it('P2: is refused a frame beyond the limit of the store, and can go on with the stream', async () => {
    const stream = await peer.give({ ...PULL, memoryLimit: 300_000 });
    await stream.write(encodeOffer(0, MB));
    expect((await peer.answer(stream)).refused).toEqual([0]);
    await stream.write(encodeOffer(1, frame({}).length));
    expect((await peer.answer(stream)).accepted).toEqual([1]);
    await stream.write(frame({ store: peer.store, sequence: 1 }));
    expect((await peer.answer(stream)).stored).toMatchObject([{ sequence: 1 }]);
  });

  it('P2: reserves no memory by offers after it has ended its side', async () => {
    for (let session = 1; session <= 3; session += 1) {
      const stream = await peer.give({ ...PULL, session });
      for (const sequence of [0, 1]) await stream.write(encodeOffer(sequence, MB));
      stream.end();
      // Until the holder ends its side.
      for await (const _ of stream);
      await until(() => holder.used.memory === 0);
    }
  });

  it('P2: reserves no memory by an offer for a store that is dropped meanwhile', async () => {
    const waiting = await peer.give({ ...PULL, epoch: 2, memoryLimit: 300_000 });
    await waiting.write(encodeOffer(0, MB));
    expect((await peer.answer(waiting)).refused).toEqual([0]);
    const first = await peer.give();
    for (const sequence of [0, 1]) await first.write(encodeOffer(sequence, MB));
    await until(() => holder.used.memory === 4 * MB);
    await waiting.write(encodeOffer(1, MB));
    await holder.node?.drop({ store: peer.store, epoch: 2, name: 's' });
    first.cancel(new HedgeError('CANCELLED', 'enough'));
    expect((await failure(waiting)).code).toBe('SPILL_UNKNOWN');
    await until(() => holder.used.memory === 0);
  });

  it('receives an error when it requests too many frames at once', async () => {
    await peer.give();
    const reading = await peer.open(encodeOpening({ $case: 'read', value: { epoch: 1, name: 's' } }));
    await reading.write(SpillWant.encode({ sequences: Array.from({ length: 500_000 }, () => 0) }).finish());
    expect((await failure(reading)).message).toContain('requested more than');
  });

  it('P1: receives an acknowledgement at once when it offers a stored frame again', async () => {
    const stream = await peer.give();
    for (const session of [1, 2]) {
      await stream.write(encodeOffer(0, frame({}).length));
      const answer = await peer.answer(stream);
      if (session === 2) expect(answer).toMatchObject({ accepted: [], stored: [{ sequence: 0 }] });
      else {
        await stream.write(frame({ store: peer.store }));
        expect(await peer.answer(stream)).toMatchObject({ stored: [{ sequence: 0 }] });
      }
    }
  });

  it('cannot read an unknown store or a missing frame, and cannot open a stream of an unknown kind', async () => {
    const unknown = await peer.open(encodeOpening({ $case: 'read', value: { epoch: 7, name: 's' } }));
    expect((await failure(unknown)).code).toBe('SPILL_LOST');
    const stream = await peer.give();
    await stream.write(encodeOffer(0, frame({}).length));
    await peer.answer(stream);
    const reading = await peer.open(encodeOpening({ $case: 'read', value: { epoch: 1, name: 's' } }));
    await reading.write(SpillWant.encode({ sequences: [3] }).finish());
    expect((await failure(reading)).code).toBe('SPILL_LOST');
    const nothing = await peer.open(Buffer.alloc(0));
    expect((await failure(nothing)).code).toBe('INVALID_ARGUMENT');
    const uncalled = await peer.open(encodeOpening({ $case: 'take', value: { epoch: 1, session: 1 } }));
    expect((await failure(uncalled)).code).toBe('SPILL_UNKNOWN');
  });
});
