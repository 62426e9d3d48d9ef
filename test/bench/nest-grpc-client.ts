import 'reflect-metadata';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import type { ClientGrpc } from '@nestjs/microservices';
import { firstValueFrom, type Observable } from 'rxjs';
import { answer } from './child.js';
import { MESSAGE, runLoad, type LoadShape } from './load.js';

interface EchoClient {
  echo(message: { text: string }): Observable<{ text: string }>;
}

// Nest's own client, as an application receives it from ClientsModule.
const client = ClientProxyFactory.create({
  transport: Transport.GRPC,
  options: {
    package: 'hedge.bench',
    protoPath: new URL('echo.proto', import.meta.url).pathname,
    url: process.env['BENCH_URL'] ?? '',
  },
}) as unknown as ClientGrpc;
const echo = client.getService<EchoClient>('Echo');

const commands = {
  run: (shape: LoadShape) => runLoad(() => firstValueFrom(echo.echo({ text: MESSAGE })), shape),
};
export type NestGrpcCommands = typeof commands;
answer(commands);
