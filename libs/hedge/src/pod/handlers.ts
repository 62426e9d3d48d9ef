import type { RequestHandler } from '../messaging/message.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { StreamHandlers } from '../streams/stream-receiver.js';

/** The port of the engine to the methods of the app. It runs the messages and streams that this pod receives. */
export interface PodHandlers {
  readonly leaderMessage: RequestHandler;
  readonly broadcast: RequestHandler;
  readonly leaderStream: StreamHandlers;
  readonly broadcastStream: StreamHandlers;
}

/** The parts of the pod that handlers use. */
export interface HandlerContext {
  readonly codec: PayloadCodec;
  /** The address of this pod, for errors. It is a function, because the system may choose the port at the start. */
  readonly address: () => string;
}

export type HandlersFactory = (context: HandlerContext) => PodHandlers;
