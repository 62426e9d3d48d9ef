import { createRequire } from 'node:module';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';
import type { google } from '@google-cloud/spanner-api/build/protos/protos.js';
import protobuf from 'protobufjs';

export type { google };

/*
 * The message types come from Google's own descriptors (the JSON form inside @google-cloud/spanner-api; its code is
 * not loaded). Messages are encoded by protobufjs directly, without @grpc/proto-loader's second copy into plain
 * objects.
 */
const require = createRequire(import.meta.url);

/** The error details of a status, which the descriptors above do not contain. */
const RPC_DETAILS: protobuf.INamespace = {
  nested: {
    RetryInfo: { fields: { retryDelay: { type: 'google.protobuf.Duration', id: 1 } } },
    ResourceInfo: {
      fields: {
        resourceType: { type: 'string', id: 1 },
        resourceName: { type: 'string', id: 2 },
        owner: { type: 'string', id: 3 },
        description: { type: 'string', id: 4 },
      },
    },
  },
};

const loadRoot = (): protobuf.Root => {
  const json = require('@google-cloud/spanner-api/build/protos/protos.json') as protobuf.INamespace;
  const root = protobuf.Root.fromJSON(json);
  root.define('google.rpc').addJSON(RPC_DETAILS.nested!);
  root.resolveAll();
  return root;
};

/** Google's message and service types. One object for each server, so that an import loads nothing. */
export class Protos {
  private readonly root = loadRoot();

  encode(type: string, message: object): Buffer {
    return Buffer.from(this.root.lookupType(type).encode(message).finish());
  }

  /** A google.protobuf.Any of the message. */
  pack(type: string, message: object): { type_url: string; value: Buffer } {
    return { type_url: `type.googleapis.com/${type}`, value: this.encode(type, message) };
  }

  /** The definition of the service for grpc-js, with all methods. */
  service(name: string): ServiceDefinition {
    const service = this.root.lookupService(name);
    const definition: Record<string, MethodDefinition<object, object>> = {};
    for (const method of service.methodsArray) {
      const request = method.resolvedRequestType!;
      const response = method.resolvedResponseType!;
      definition[method.name] = {
        path: `/${name}/${method.name}`,
        requestStream: method.requestStream ?? false,
        responseStream: method.responseStream ?? false,
        requestSerialize: (message) => Buffer.from(request.encode(message).finish()),
        requestDeserialize: (bytes) => request.decode(bytes),
        responseSerialize: (message) => Buffer.from(response.encode(message).finish()),
        responseDeserialize: (bytes) => response.decode(bytes),
      };
    }
    return definition;
  }
}
