import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern, Payload, Server, type CustomTransportStrategy } from '@nestjs/microservices';
import { answer } from './child.js';
import { startRawLinkServer } from './raw-link-floor.js';

/** The bare stream of `raw-link`, whose requests are answered by a method of a Nest controller. */
class RawLinkStrategy extends Server implements CustomTransportStrategy {
  #server: { close(): void } | undefined;

  async listen(ready: (error?: unknown) => void): Promise<void> {
    const handler = this.getHandlerByPattern('echo')!;
    const handle = async (payload: Uint8Array, reply: (payload: Uint8Array) => void): Promise<void> => {
      const results = this.transformToObservable(await handler(Buffer.from(payload).toString()));
      results.subscribe((text: unknown) => reply(Buffer.from(String(text))));
    };
    const port = Number(process.env['BENCH_PORT']);
    this.#server = await startRawLinkServer(port, (payload, reply) => void handle(payload, reply));
    ready();
  }

  close(): void {
    this.#server?.close();
  }

  on(): void {}

  unwrap<T>(): T {
    throw new Error('the benchmark has no underlying server');
  }
}

@Controller()
class EchoController {
  @MessagePattern('echo')
  echo(@Payload() text: string): string {
    return text;
  }
}

@Module({ controllers: [EchoController] })
class EchoModule {}

const app = await NestFactory.createMicroservice(EchoModule, { strategy: new RawLinkStrategy(), logger: ['error'] });
await app.listen();
answer({});
