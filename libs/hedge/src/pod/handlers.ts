import { HedgeError } from '../common/errors.js';
import type { Logger } from '../common/line-logger.js';
import type { HandledTopics } from '../inspection/pod-state.js';
import type { RequestHandler } from '../messaging/message.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { StreamHandlers } from '../streams/stream-receiver.js';

/** The port of the engine to the methods of the app. It runs the messages and streams that this pod receives. */
export interface PodHandlers {
  readonly leaderMessage: RequestHandler;
  readonly broadcast: RequestHandler;
  readonly leaderStream: StreamHandlers;
  readonly broadcastStream: StreamHandlers;
  /** The topics that have a handler, by kind. */
  topics(): HandledTopics;
}

/** The parts of the pod that handlers use. */
export interface HandlerContext {
  readonly codec: PayloadCodec;
  /** The address of this pod, for errors. It is a function, because the system may choose the port at the start. */
  readonly address: () => string;
  readonly logger: Logger;
}

export type HandlersFactory = (context: HandlerContext) => PodHandlers;

async function noHandler(): Promise<never> {
  throw new HedgeError('NO_HANDLER', 'The pod that was asked has no handlers. Ask another pod.');
}

const NO_STREAMS: StreamHandlers = { check: () => undefined, run: noHandler };

/** For a client that has no app, as the command line. No other pod can dial a client, so nothing arrives. */
export const withoutHandlers: HandlersFactory = () => ({
  leaderMessage: noHandler,
  broadcast: noHandler,
  leaderStream: NO_STREAMS,
  broadcastStream: NO_STREAMS,
  topics: () => ({ leader: [], broadcast: [], leaderStream: [], broadcastStream: [] }),
});
