import { connect, createServer, type AddressInfo } from 'node:net';
import {
  Metadata,
  Server,
  ServerCredentials,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type sendUnaryData,
  type ServerWritableStream,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { SpannerError, unimplemented } from '../common/status.js';
import type { Faults } from '../faults.js';
import { relay } from './cancel-filter.js';
import { toServiceError } from './grpc-status.js';
import type { Protos } from './protos.js';

/** The messages of a handler: one for a unary method, all messages for a stream. */
export type Handler = (request: never) => object | readonly object[] | Promise<object | readonly object[]>;

/** The supported methods of one service, by name. */
export type Handlers = Readonly<Record<string, Handler>>;

/** The data API, to which faults apply. */
const SPANNER = 'google.spanner.v1.Spanner';

const LOOPBACK = '127.0.0.1';

/** Listens, counts calls, and injects faults around the handlers. */
export class GrpcServer {
  readonly calls = new Map<string, number>();
  private readonly server = new Server({
    // Spanner accepts commits of up to 100 MB. The default limit of gRPC is 4 MB.
    'grpc.max_receive_message_length': 128 * 1024 * 1024,
    'grpc.max_send_message_length': -1,
  });

  private readonly listener = createServer({ noDelay: true });
  /** The port where grpc-js listens, behind the relay. */
  private inner = 0;

  constructor(
    private readonly protos: Protos,
    private readonly faults: Faults,
  ) {}

  /** Methods of the service without a handler fail with UNIMPLEMENTED and their name. */
  addService(name: string, handlers: Handlers): void {
    const definition = this.protos.service(name);
    const implementation: UntypedServiceImplementation = {};
    for (const [method, { responseStream }] of Object.entries(definition)) {
      const handler: Handler =
        handlers[method] ??
        (() => {
          throw unimplemented(method);
        });
      implementation[method] = responseStream ? this.stream(name, method, handler) : this.unary(name, method, handler);
    }
    this.server.addService(definition, implementation);
  }

  /** Binds a port; 0 for a free one. Returns the bound port. */
  listen(host: string, port: number): Promise<number> {
    this.listener.on('connection', (client) =>
      relay(client, connect({ port: this.inner, host: LOOPBACK, noDelay: true })),
    );
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void =>
        reject(new Error(`Cannot listen on ${host}:${port}: ${error.message}`, { cause: error }));
      this.listener.once('error', fail);
      this.server.bindAsync(`${LOOPBACK}:0`, ServerCredentials.createInsecure(), (error, inner) => {
        if (error) return fail(error);
        this.inner = inner;
        this.listener.listen(port, host, () => resolve((this.listener.address() as AddressInfo).port));
      });
    });
  }

  close(): void {
    this.listener.close();
    this.server.forceShutdown();
  }

  private unary(service: string, method: string, handler: Handler): handleUnaryCall<object, object> {
    const answer = async (request: object, callback: sendUnaryData<object>): Promise<void> => {
      let response: object;
      try {
        response = await this.run(service, method, handler, request);
      } catch (error) {
        return callback(toServiceError(error, this.protos));
      }
      callback(null, response);
    };
    return (call, callback) => void answer(call.request, callback);
  }

  private stream(service: string, method: string, handler: Handler): handleServerStreamingCall<object, object> {
    const answer = async (call: ServerWritableStream<object, object>): Promise<void> => {
      try {
        const messages = (await this.run(service, method, handler, call.request)) as readonly object[];
        const broken = service === SPANNER ? this.faults.drawError(method, 'during') : undefined;
        for (const message of broken ? messages.slice(0, 1) : messages) call.write(message);
        this.failIf(broken);
        call.end();
      } catch (error) {
        // Separate headers show Node's client that the server answered. Otherwise it repeats the call after a second.
        call.sendMetadata(new Metadata());
        call.emit('error', toServiceError(error, this.protos));
      }
    };
    return (call) => void answer(call);
  }

  private async run(
    service: string,
    method: string,
    handler: Handler,
    request: object,
  ): Promise<object | readonly object[]> {
    this.calls.set(method, (this.calls.get(method) ?? 0) + 1);
    if (service !== SPANNER) return handler(request as never);
    const delay = this.faults.delay();
    if (delay) await delay;
    this.failIf(this.faults.drawError(method, 'before'));
    const response = await handler(request as never);
    this.failIf(this.faults.drawError(method, 'after'));
    return response;
  }

  private failIf(error: SpannerError | undefined): void {
    if (error) throw error;
  }
}
