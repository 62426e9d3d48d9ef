import type { RequestHandler } from '../messaging/message.js';
import type { PayloadCodec } from '../messaging/serializer.js';
import type { StreamHandlers } from '../streams/stream-receiver.js';

/** What runs the messages and streams that this pod receives: the port of the engine to the methods of the app. */
export interface PodHandlers {
  readonly leaderMessage: RequestHandler;
  readonly broadcast: RequestHandler;
  readonly leaderStream: StreamHandlers;
  readonly broadcastStream: StreamHandlers;
}

/** What handlers need to know of their pod. */
export interface HandlerContext {
  readonly codec: PayloadCodec;
  /** The address of this pod, for errors. The port may be chosen at the start. */
  readonly address: () => string;
}

export type HandlersFactory = (context: HandlerContext) => PodHandlers;
