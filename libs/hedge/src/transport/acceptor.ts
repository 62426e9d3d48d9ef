import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { MemberId } from '../common/identity.js';
import { frameOf, messageOf } from './handshake-message.js';
import { printable, type ReceiverHandshake } from './handshake.js';
import type { MessageStream } from './message-stream.js';
import type { RefusalLog } from './refusal-log.js';

/** A Hello is far smaller. The Proof may be long: it lists what is outstanding. */
const MAX_HELLO_BYTES = 4_096;
/** What strangers can hold at once. The oldest gives way, since an honest handshake takes milliseconds. */
const MAX_PENDING = 64;

export interface Caller {
  readonly member: MemberId;
  readonly generation: number;
  readonly outstanding: readonly number[];
}

export interface AcceptorInit {
  /** Rejects when the group's secret cannot be had now. */
  readonly handshake: () => Promise<ReceiverHandshake>;
  /**
   * The caller is authenticated: takes the stream over and answers Welcome.
   * @throws HedgeError to refuse it all the same.
   */
  readonly admit: (stream: MessageStream, caller: Caller) => void;
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly log: RefusalLog;
}

/** Takes the receiver's part in the handshakes of streams that come in, and bounds what strangers cost. */
export class Acceptor {
  /** Ways to give up, oldest first. */
  private readonly pending = new Set<(error: HedgeError) => void>();

  constructor(private readonly init: AcceptorInit) {}

  accept(stream: MessageStream): void {
    const [oldest] = this.pending;
    if (oldest && this.pending.size >= MAX_PENDING) {
      oldest(new HedgeError('OVERLOADED', `${MAX_PENDING} handshakes are under way; try again`));
    }

    const settle = (): void => {
      cancelTimer();
      this.pending.delete(refuse);
    };
    const dismiss = (why: string): void => {
      settle();
      stream.end();
      this.init.log.warn(host(stream.remote), `Refused a link from ${stream.remote}: ${why}`);
    };
    const refuse = (error: HedgeError): void => {
      stream.write(messageOf({ $case: 'refusal', value: error }), () => undefined);
      dismiss(error.message);
    };
    const cancelTimer = this.init.clock.after(this.init.timeoutMs, () =>
      refuse(new HedgeError('UNAUTHENTICATED', `The handshake was not done within ${this.init.timeoutMs} ms`)),
    );
    this.pending.add(refuse);

    const step = (handshake: ReceiverHandshake, message: Uint8Array): void => {
      const body = frameOf(message);
      if (!body) return refuse(malformed());
      const next = handshake.step(body);
      switch (next.kind) {
        case 'challenge':
          stream.write(messageOf({ $case: 'challenge', value: next.challenge }), () => undefined);
          break;
        case 'admit':
          settle();
          try {
            this.init.admit(stream, {
              member: next.caller,
              generation: next.generation,
              outstanding: next.outstanding,
            });
          } catch (error) {
            refuse(error instanceof HedgeError ? error : new HedgeError('MEMBER_UNREACHABLE', String(error)));
          }
          break;
        case 'refuse':
          if (next.told) dismiss(next.error.message);
          else refuse(next.error);
          break;
      }
    };

    let handshake: ReceiverHandshake | 'awaited' | undefined;
    stream.attach({
      message: (message) => {
        if (handshake === 'awaited') return refuse(malformed());
        if (handshake) return step(handshake, message);
        if (message.byteLength > MAX_HELLO_BYTES) return refuse(malformed());
        handshake = 'awaited';
        this.init.handshake().then(
          (ready) => {
            if (!this.pending.has(refuse)) return;
            handshake = ready;
            step(ready, message);
          },
          (error: unknown) => {
            if (!this.pending.has(refuse)) return;
            refuse(
              new HedgeError('BACKEND_UNAVAILABLE', "This member cannot read the group's secret now", { cause: error }),
            );
          },
        );
      },
      drained: () => undefined,
      closed: (reason) => dismiss(printable(`it went away during the handshake (${reason})`)),
    });
  }

  /** Ends all handshakes that are under way. */
  close(): void {
    for (const refuse of this.pending) refuse(new HedgeError('SHUTTING_DOWN', 'This member is stopping'));
  }
}

function malformed(): HedgeError {
  return new HedgeError('UNAUTHENTICATED', 'The caller sent a message that has no place in the handshake');
}

/** Without the port, which is another for every stream. */
function host(remote: string): string {
  return remote.replace(/:\d+$/, '');
}
