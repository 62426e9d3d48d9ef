import { Controller, Injectable, Logger, Module, Scope } from '@nestjs/common';
import { MessagePattern, Transport } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import { describe, expect, it } from '@jest/globals';
import { HedgeStrategy, OnBroadcast, OnLeaderChange, OnLeaderMessage } from 'nestjs-hedge';
import { HandlerProbeGuard } from '../../libs/hedge/src/nest/handlers/handler-probe.js';
import { HandlerDiscovery } from '../../libs/hedge/src/nest/handlers/discovery.js';
import { HandlerWiring } from '../../libs/hedge/src/nest/handlers/wiring.js';
import { Foreign, Jobs, Orders, ScopedController, Stock, everything } from './sample-handlers.js';
import { WiringModule, appWith, connected } from './wired-app.js';

Logger.overrideLogger(false);

function decorated(topic: string): unknown {
  class Wrong {
    @OnLeaderMessage(topic) run() {}
  }
  return Wrong;
}

describe('a start', () => {
  it('fails for two methods of one topic, and names both', async () => {
    @Controller()
    class More {
      @OnLeaderMessage('job') again() {}
    }
    await expect(appWith({ controllers: [More], providers: [Jobs] })).rejects.toThrow(
      "@OnLeaderMessage('job') must be on one method: More.again and Jobs.job both have it.",
    );
  });

  it('does not fail for the default topic used once for each kind', async () => {
    @Injectable()
    class Only {
      @OnLeaderMessage() lead() {
        return 'led';
      }
      @OnBroadcast() tell() {
        return 'told';
      }
    }
    const { call } = await appWith({ providers: [Only] });
    expect([await call('leader', ''), await call('broadcast', '')]).toEqual(['led', 'told']);
  });

  it('fails for an invalid topic', () => {
    expect(() => decorated('x'.repeat(257))).toThrow('Wrong.run is decorated wrongly. A topic is a string of at most');
    expect(() => decorated(5 as never)).toThrow('this is a value of type number');
  });

  it('fails for one class in two modules, and names both', async () => {
    @Module({ providers: [Jobs, Stock] })
    class OtherModule {}
    @Module({ imports: [WiringModule, OtherModule], providers: [Jobs, Stock] })
    class AppModule {}
    const context = await Test.createTestingModule({ imports: [AppModule] }).compile();
    await context.init();
    await expect(context.get(HandlerWiring, { strict: false }).wire({})).rejects.toThrow(
      'Jobs.job stands in two modules, AppModule and OtherModule',
    );
  });

  it('fails for handlers of transient providers, and of providers under another token', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Passing {
      @OnBroadcast('passing') run() {}
    }
    await expect(appWith({ providers: [Passing] })).rejects.toThrow('Passing.run is a handler of a transient provider');
    await expect(appWith({ providers: [{ provide: 'jobs', useClass: Jobs }] })).rejects.toThrow(
      'Jobs.job is a handler of a provider that stands under another token',
    );
    const made = { provide: 'jobs', useFactory: () => new Jobs(new Stock()) };
    await expect(appWith({ providers: [made] })).rejects.toThrow('under another token');
  });

  it('does not fail for another name of a wired instance', async () => {
    const { call } = await appWith({
      providers: [
        Jobs,
        { provide: 'alias', useExisting: Jobs },
        { provide: 'made', inject: [Jobs], useFactory: (jobs: Jobs) => jobs },
      ],
    });
    expect(await call('leader', 'job', {})).toMatchObject({ unit: 3 });
  });

  it('fails when another transport serves the method', async () => {
    @Controller()
    class Taken {
      @MessagePattern('kafka', Transport.KAFKA)
      @OnLeaderMessage('taken')
      run() {}
    }
    await expect(appWith({ controllers: [Taken] })).rejects.toThrow(
      "@OnLeaderMessage('taken') Taken.run (a controller)",
    );
    expect(() => {
      class TakenFirst {
        @OnLeaderMessage('taken')
        @MessagePattern('kafka', Transport.KAFKA)
        run() {}
      }
      return TakenFirst;
    }).toThrow('TakenFirst.run already handles messages of another transport');
  });

  it('fails for a lifecycle callback on a class without a single instance', async () => {
    @Injectable({ scope: Scope.REQUEST })
    class Fleeting {
      @OnLeaderChange() changed() {}
    }
    const { context } = await appWith({ providers: [Fleeting] });
    expect(() => context.get(HandlerDiscovery, { strict: false }).notices()).toThrow('Fleeting.changed');
  });

  it('fails when Nest does not run guards as the module expects', async () => {
    const canActivate = HandlerProbeGuard.prototype.canActivate;
    HandlerProbeGuard.prototype.canActivate = () => true;
    try {
      await expect(appWith(everything)).rejects.toThrow(
        'app.connectMicroservice({ strategy: app.get(HedgeStrategy) });',
      );
    } finally {
      HandlerProbeGuard.prototype.canActivate = canActivate;
    }
  });
});

describe('an app that connects the strategy itself', () => {
  it('has its controllers wired by Nest', async () => {
    const { app, wired, call } = await connected({ controllers: [Orders, ScopedController, Foreign] });
    expect(wired).toBe(true);
    expect(await call('leader', 'price', { qty: 1 })).toMatchObject({ wrapped: { total: 3 } });
    await expect(call('leader', 'price', { deny: true })).rejects.toMatchObject({ message: 'Forbidden resource' });
    await app.close();
  });

  it('fails the start with the handlers that Nest does not connect', async () => {
    await expect(connected({ controllers: [Orders], providers: [Jobs] })).rejects.toThrow(
      "@OnLeaderMessage('job') Jobs.job (a provider)",
    );
  });

  it('refuses enhancers that would not run', async () => {
    await expect(connected({ controllers: [Orders] }, { guards: [{ canActivate: () => false }] })).rejects.toThrow(
      '"enhancers" has no effect',
    );
  });

  it('can use deferred initialization, and is wired when Nest starts the microservice', async () => {
    @Module({ imports: [WiringModule], controllers: [Orders], providers: [Stock] })
    class AppModule {}
    const testing = await Test.createTestingModule({ imports: [AppModule] })

      .compile();
    const app = testing.createNestApplication();
    const strategy = app.get(HedgeStrategy, { strict: false });
    app.connectMicroservice({ strategy }, { deferInitialization: true });
    await app.init();
    const wiring = app.get(HandlerWiring, { strict: false });
    expect(await wiring.wire({})).toBe(false);
    let atListen: boolean | undefined;
    strategy.onListen(async () => {
      atListen = await wiring.wire({});
    });
    await app.startAllMicroservices();
    expect(atListen).toBe(true);
    await app.close();
  });

  it('cannot connect it after the app has started', async () => {
    const { context } = await appWith({ controllers: [Orders] });
    const strategy = context.get(HedgeStrategy, { strict: false });
    expect(() => strategy.addHandler({ hedge: 'leader', topic: 'price' }, async () => 1)).toThrow(
      "@OnLeaderMessage('price') is wired already",
    );
  });
});
