import type { Clock } from '../../common/clock.js';
import { asHedgeError, HedgeError } from '../../common/errors.js';
import type { MemberId } from '../../common/identity.js';
import { decodeFrame, encodeFrame } from '../links/frames.js';
import { printable, ReceiverHandshake } from './handshake.core.js';
import type { MessageStream, StreamKind } from '../streams/message-stream.js';
import type { Timing } from '../../wire/hedge/v1/link.js';
import { hostOf, MAX_UNAUTHENTICATED, PendingByHost } from './pending-by-host.js';
import type { RefusalLog } from './refusal-log.js';

/** A Hello is far smaller. A Proof may be longer: it lists the outstanding requests. */
const MAX_HELLO_BYTES = 4_096;

export interface AuthenticatedCaller {
  readonly member: MemberId;
  readonly generation: number;
  readonly outstanding: readonly number[];
  readonly timing: Timing | undefined;
}

export interface AcceptorInit {
  readonly kind: StreamKind;
  /** Rejects when the secret of the group cannot be read now. */
  readonly handshake: () => Promise<ReceiverHandshake>;
  /**
   * Called when the caller is authenticated: attaches to the stream and answers Welcome.
   * @throws HedgeError to refuse the caller even so.
   */
  readonly admit: (stream: MessageStream, caller: AuthenticatedCaller) => void;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly log: RefusalLog;
}

/** Runs the receiver's side of the handshakes of incoming streams, and bounds the resources of unauthenticated callers. */
export class Acceptor {
  readonly #pending = new PendingByHost<PendingHandshake>(MAX_UNAUTHENTICATED);

  constructor(private readonly init: AcceptorInit) {}

  accept(stream: MessageStream): void {
    const host = hostOf(stream.remote);
    const handshake = new PendingHandshake(stream, this.init, () => this.#pending.delete(host, handshake));
    const { admitted, displaced } = this.#pending.add(host, handshake, this.init.clock.now().mono);
    for (const one of admitted ? displaced : [...displaced, handshake]) {
      one.refuse(new HedgeError('OVERLOADED', 'Too many handshakes are in progress. Try again'));
    }
  }

  /** Ends all handshakes in progress. */
  close(): void {
    for (const handshake of this.#pending) {
      handshake.refuse(new HedgeError('SHUTTING_DOWN', 'This member is stopping'));
    }
  }
}

/** One stream from its first message to its admission or refusal. */
class PendingHandshake {
  #state: 'new' | 'secret awaited' | 'over' | ReceiverHandshake = 'new';
  readonly #cancelTimer: () => void;

  constructor(
    private readonly stream: MessageStream,
    private readonly init: AcceptorInit,
    private readonly settled: () => void,
  ) {
    this.#cancelTimer = init.clock.after(init.timeoutMs, () =>
      this.refuse(new HedgeError('UNAUTHENTICATED', `The handshake did not finish within ${init.timeoutMs} ms`)),
    );
    stream.attach({
      message: (message) => this.#receive(message),
      drained: () => undefined,
      closed: (reason) =>
        this.#dismiss(
          `The caller at ${stream.remote} disconnected during the handshake of a ${init.kind} (${printable(reason)})`,
        ),
    });
  }

  /** Sends the reason to the caller, and logs it. */
  refuse(error: HedgeError): void {
    this.stream.write(encodeFrame({ $case: 'refusal', value: error }), () => undefined);
    if (error.code === 'SHUTTING_DOWN') this.#end();
    else this.#dismiss(`Refused a ${this.init.kind} from ${this.stream.remote}: ${error.message}`);
  }

  #receive(message: Uint8Array): void {
    if (this.#state instanceof ReceiverHandshake) return this.#step(this.#state, message);
    if (this.#state !== 'new' || message.byteLength > MAX_HELLO_BYTES) return this.refuse(malformed());
    this.#state = 'secret awaited';
    this.init.handshake().then(
      (handshake) => {
        if (this.#state !== 'secret awaited') return;
        this.#state = handshake;
        this.#step(handshake, message);
      },
      (cause: unknown) => {
        if (this.#state !== 'secret awaited') return;
        this.refuse(
          new HedgeError('BACKEND_UNAVAILABLE', 'This member cannot read the secret of the group now', { cause }),
        );
      },
    );
  }

  #step(handshake: ReceiverHandshake, message: Uint8Array): void {
    const body = decodeFrame(message);
    if (!body) return this.refuse(malformed());
    const next = handshake.step(body);
    switch (next.kind) {
      case 'challenge':
        this.stream.write(encodeFrame({ $case: 'challenge', value: next.challenge }), () => undefined);
        break;
      case 'admit':
        this.#admit({
          member: next.caller,
          generation: next.generation,
          outstanding: next.outstanding,
          timing: next.timing,
        });
        break;
      case 'refuse':
        if (next.byCaller)
          this.#dismiss(
            `The caller at ${this.stream.remote} ended its ${this.init.kind} to this pod: ${next.error.message}`,
          );
        else this.refuse(next.error);
        break;
    }
  }

  #admit(caller: AuthenticatedCaller): void {
    this.#settle();
    this.stream.admitted();
    try {
      this.init.admit(this.stream, caller);
    } catch (error) {
      this.refuse(asHedgeError(error, 'MEMBER_UNREACHABLE'));
    }
  }

  #dismiss(line: string): void {
    this.#end();
    this.init.log.warn(hostOf(this.stream.remote), line);
  }

  #end(): void {
    this.#settle();
    this.stream.end();
  }

  #settle(): void {
    this.#state = 'over';
    this.#cancelTimer();
    this.settled();
  }
}

function malformed(): HedgeError {
  return new HedgeError('UNAUTHENTICATED', 'The caller sent a message that does not belong to the handshake');
}
