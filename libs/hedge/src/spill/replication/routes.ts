import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { bytesPayload } from '../../messaging/message.js';
import type { Messenger } from '../../messaging/messenger.js';
import type { PeerStream, StreamTransport } from '../../transport/streams/peer-stream.js';
import { RequestKind } from '../../wire/hedge/v1/link.js';
import { SpillPull, type SpillTake } from '../../wire/hedge/v1/spill.js';
import { encodeOpening } from './messages.js';

export interface PeerConnectionsOptions {
  readonly streams: StreamTransport;
  readonly messenger: Pick<Messenger, 'request'>;
  readonly clock: Clock;
  /** A member that opens no stream within it counts as not reachable. */
  readonly timeoutMs: number;
}

/** How an owner comes to its streams with the members that hold its frames. */
export class PeerConnections {
  readonly #options: PeerConnectionsOptions;
  /** Streams that members were asked to open. */
  readonly #expected = new Map<string, (stream: PeerStream) => void>();

  constructor(options: PeerConnectionsOptions) {
    this.#options = options;
  }

  /**
   * A stream by which that member takes frames. It is asked to call, because the caller receives faster; a client,
   * which nobody can call, calls itself.
   * @throws HedgeError MEMBER_UNREACHABLE, SPILL_UNKNOWN, or what the member refuses with
   */
  async toGive(member: MemberId, pull: SpillPull): Promise<PeerStream> {
    const { streams, messenger, timeoutMs } = this.#options;
    if (streams.self.address === '') {
      return streams.openStream(member, { purpose: 'spill', opening: encodeOpening({ $case: 'give', value: pull }) });
    }
    const key = keyOf(member, pull);
    const stream = this.#expect(key, member);
    try {
      const payload = bytesPayload(SpillPull.encode(pull).finish());
      const kind = RequestKind.REQUEST_KIND_SPILL_PULL;
      const name = `to take frames of spilled data '${pull.name}'`;
      await messenger.request({ to: member, kind, topic: '', name, payload, timeoutMs });
      return await stream;
    } catch (error) {
      // It may have been opened all the same, and its answer lost.
      stream.then((opened) => opened.cancel(error as HedgeError)).catch(() => undefined);
      throw error;
    } finally {
      this.#expected.delete(key);
    }
  }

  /** A stream by which this pod reads what that member holds for it. */
  toRead(member: MemberId, store: { epoch: number; name: string }): Promise<PeerStream> {
    const opening = encodeOpening({ $case: 'read', value: store });
    return this.#options.streams.openStream(member, { purpose: 'spill', opening });
  }

  /** A member has opened the stream that it was asked for. */
  taken(stream: PeerStream, take: SpillTake): void {
    const expected = this.#expected.get(keyOf(stream.peer, take));
    if (expected !== undefined) return expected(stream);
    stream.cancel(
      new HedgeError('SPILL_UNKNOWN', 'The owner of the spill store does not wait for this stream any more'),
    );
  }

  #expect(key: string, member: MemberId): Promise<PeerStream> {
    const { clock, timeoutMs } = this.#options;
    const stream = new Promise<PeerStream>((resolve, reject) => {
      const cancel = clock.after(timeoutMs, () => {
        const message = `${member.address} opened no stream for spilled frames within ${timeoutMs} ms`;
        reject(new HedgeError('MEMBER_UNREACHABLE', message));
      });
      this.#expected.set(key, (opened) => {
        cancel();
        resolve(opened);
      });
    });
    // When the request fails, nobody waits for it.
    stream.catch(() => undefined);
    return stream;
  }
}

function keyOf({ incarnation }: MemberId, { epoch, session }: SpillTake): string {
  return `${incarnation} ${epoch} ${session}`;
}
