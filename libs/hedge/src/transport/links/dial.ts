import type { Clock } from '../../common/clock.js';
import { HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { decodeFrame, encodeFrame } from './frames.js';
import type { CallerHandshake } from '../handshake/handshake.core.js';
import type { MessageStream, StreamKind } from '../streams/message-stream.js';
import type { Timing } from '../../wire/hedge/v1/link.js';

export interface DialInit {
  readonly address: string;
  readonly kind: StreamKind;
  readonly stream: MessageStream;
  /** Rejects when the secret of the group cannot be read now. */
  readonly handshake: Promise<CallerHandshake>;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Aborts when the transport closes or the caller cancels. The dial fails with its reason. */
  readonly signal: AbortSignal;
  /** Called as late as possible. Returns the requests that were sent and not answered until then. */
  readonly outstanding: (receiver: MemberId) => readonly number[];
}

export interface Dialled {
  readonly receiver: MemberId;
  readonly resumed: boolean;
  readonly timing: Timing | undefined;
}

/**
 * Runs the caller's side of the handshake.
 *
 * @param opened runs in the turn in which Welcome arrived, before any later message of the stream.
 * @throws HedgeError MEMBER_UNREACHABLE, UNAUTHENTICATED, or the signal's reason. The stream has ended then.
 */
export function dial<T>(init: DialInit, opened: (dialled: Dialled) => T): Promise<T> {
  const { address, kind, stream, clock, signal } = init;
  return new Promise<T>((resolve, reject) => {
    const settle = (): void => {
      cancelTimer();
      signal.removeEventListener('abort', aborted);
    };
    const fail = (error: HedgeError, refuse: boolean): void => {
      settle();
      if (refuse) stream.write(encodeFrame({ $case: 'refusal', value: error }), () => undefined);
      stream.end();
      reject(error);
    };
    const unreachable = (why: string, cause?: unknown): void =>
      fail(
        new HedgeError('MEMBER_UNREACHABLE', `No ${kind} to ${address}: ${why}`, { cause, details: { address } }),
        false,
      );
    const aborted = (): void => fail(signal.reason as HedgeError, false);
    const cancelTimer = clock.after(init.timeoutMs, () => unreachable(`it did not answer within ${init.timeoutMs} ms`));
    signal.addEventListener('abort', aborted);

    const step = (handshake: CallerHandshake, message: Uint8Array): void => {
      const body = decodeFrame(message);
      if (!body) return unreachable('it does not speak the protocol of this library');
      const next = handshake.step(body);
      switch (next.kind) {
        case 'prove': {
          const outstanding = [...init.outstanding(next.receiver)];
          stream.write(encodeFrame({ $case: 'proof', value: { proof: next.proof, outstanding } }), () => undefined);
          break;
        }
        case 'open':
          settle();
          resolve(opened(next));
          break;
        case 'fail':
          fail(next.error, next.refuse);
          break;
      }
    };

    let handshake: CallerHandshake | undefined;
    stream.attach({
      message: (message) =>
        handshake ? step(handshake, message) : unreachable('it does not speak the protocol of this library'),
      drained: () => undefined,
      closed: (reason) => unreachable(reason),
    });
    init.handshake.then(
      (ready) => {
        handshake = ready;
        stream.write(encodeFrame({ $case: 'hello', value: ready.hello }), () => undefined);
      },
      (error: unknown) => unreachable("this group's secret could not be read", error),
    );
  });
}
