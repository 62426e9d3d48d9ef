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
 * The floor below streams: a bidirectional stream of grpc-js with nothing of Hedge in it. One gRPC message for each
 * of the application's, no encoding, no authentication; waiting for `drain` is all its back-pressure.
 */
export const RAW_STREAMS = { echo: method('/floor.RawStreams/Echo'), count: method('/floor.RawStreams/Count') };
