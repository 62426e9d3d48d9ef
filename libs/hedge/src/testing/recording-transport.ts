import type { HedgeError } from '../common/errors.js';
import { type MemberId, newIncarnation } from '../common/identity.js';
import type { StreamTransport } from '../transport/streams/peer-stream.js';
import type { FrameBody, Link, Transport } from '../transport/transport.js';

/** A transport that records its events and sessions for assertions. The test can set its answers. */
export class RecordingTransport {
  readonly transport: Transport & StreamTransport;
  readonly frames: FrameBody[] = [];
  readonly acknowledged: number[] = [];
  readonly opened: Link[] = [];
  readonly closed: { link: Link; reason: HedgeError }[] = [];
  readonly resumes: { caller: MemberId; outstanding: readonly number[] }[] = [];
  /** The order of opened, closed and resume. */
  readonly log: ('opened' | 'closed' | 'resume')[] = [];
  /** The request ids for which this member waits, as a caller. */
  outstanding: number[] = [];
  /** Whether this member remembers a caller, as a receiver. */
  remembers = false;
  onFrame: (link: Link, body: FrameBody) => void = () => undefined;

  constructor(make: (self: MemberId) => Transport & StreamTransport, address: string, incarnation = newIncarnation()) {
    this.transport = make({ address, incarnation });
    this.transport.attach(
      {
        frame: (link, body) => {
          this.frames.push(body);
          this.onFrame(link, body);
        },
        acknowledged: (_link, sequences) => void this.acknowledged.push(...sequences),
        opened: (link) => {
          this.log.push('opened');
          this.opened.push(link);
        },
        closed: (link, reason) => {
          this.log.push('closed');
          this.closed.push({ link, reason });
        },
      },
      {
        outstandingAt: () => this.outstanding,
        resume: (caller, outstanding) => {
          this.log.push('resume');
          this.resumes.push({ caller, outstanding });
          return this.remembers;
        },
      },
    );
  }

  get self(): MemberId {
    return this.transport.self;
  }
}
