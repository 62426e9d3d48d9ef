import { inspect } from 'node:util';
import { Logger, Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { HedgeModule, KvStore, LeaderService, LockService } from 'nestjs-hedge';
import type { HedgeOptions } from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { CertificateAuthority } from '../../libs/hedge/src/testing/certificates.js';
import { HedgePod } from '../../libs/hedge/src/pod/hedge-pod.js';

const SECRET = 'a secret that no log may have';

let options: HedgeOptions;
let key: string;
let app: Awaited<ReturnType<typeof start>> | undefined;

beforeAll(() => {
  Logger.overrideLogger(false);
  const authority = new CertificateAuthority('test');
  const { cert, key: made } = authority.issue('localhost');
  key = made;
  const tls = { ca: authority.cert, cert, key };
  options = { group: 'test', address: 'localhost:0', timing: 'local', backend: memory(), secret: SECRET, tls };
});

afterEach(() => app?.close());

function start(hedge: DynamicModule) {
  @Module({ imports: [hedge] })
  class AppModule {}
  return NestFactory.createApplicationContext(AppModule, { abortOnError: false, logger: false });
}

/** Depths that a log line uses, and much deeper ones. */
function logged(value: unknown): string {
  return inspect(value, { depth: 8, maxArrayLength: Infinity, maxStringLength: Infinity });
}

function expectNoSecret(text: string): void {
  expect(text.includes(SECRET)).toBe(false);
  const [, line = ''] = key.split('\n');
  expect(line.length).toBeGreaterThan(30);
  expect(text.includes(line)).toBe(false);
}

class Options {
  createHedgeOptions = () => options;
}

describe('secret and tls.key stay hidden when code inspects', () => {
  it.each([
    ['forRoot', () => HedgeModule.forRoot(options)],
    ['forRootAsync with a factory', () => HedgeModule.forRootAsync({ useFactory: async () => options })],
    ['forRootAsync with a class', () => HedgeModule.forRootAsync({ useClass: Options })],
  ])('the module, the app, the runtime and the services (%s)', async (_, make) => {
    const module = make();
    expectNoSecret(logged(module));
    expectNoSecret(JSON.stringify(module));
    app = await start(module);
    for (const type of [HedgePod, LeaderService, KvStore, LockService]) {
      const part = app.get<object>(type);
      expectNoSecret(logged(part));
      if (type === HedgePod) expectNoSecret(JSON.stringify((part as HedgePod).settings));
    }
    expectNoSecret(logged(app));
  });
});
