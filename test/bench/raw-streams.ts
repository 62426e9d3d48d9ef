import type { MethodDefinition } from '@grpc/grpc-js';

const bytes = (message: Buffer): Buffer => message;

function method(path: string): MethodDefinition<Buffer, Buffer> {
  return {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: bytes,
    requestDeserialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: bytes,
  };
}

/**
 * The baseline of streams: a bidirectional stream of grpc-js, without Hedge. It has one gRPC message for each message of the
 * application, no encoding and no authentication. Its only back-pressure is to wait for `drain`.
 */
export const RAW_STREAMS = { echo: method('/floor.RawStreams/Echo'), count: method('/floor.RawStreams/Count') };
