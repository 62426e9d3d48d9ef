import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { startSpannerEmulator } from 'hedge-spanner-emulator';
import { spanner } from 'nestjs-hedge/spanner';
import { until } from '../nest/apps.js';
import { claimOf } from '../backend/rows.js';
import { TABLE_DDL } from './target.js';

/** With gRPC's own doubling pauses, these take minutes. */
const ATTEMPTS = 12;

describe('an outage of Spanner', () => {
  const before = process.env['SPANNER_EMULATOR_HOST'];
  let refusing: Server | undefined;

  afterEach(() => {
    refusing?.close();
    if (before === undefined) delete process.env['SPANNER_EMULATOR_HOST'];
    else process.env['SPANNER_EMULATOR_HOST'] = before;
  });

  it('is followed by a new attempt soon after its end, whatever its length', async () => {
    let attempts = 0;
    refusing = createServer((socket: Socket) => {
      attempts += 1;
      socket.destroy();
    });
    refusing.listen(0, '127.0.0.1');
    await once(refusing, 'listening');
    const { port } = refusing.address() as { port: number };
    process.env['SPANNER_EMULATOR_HOST'] = `127.0.0.1:${port}`;
    const database = 'projects/p/instances/i/databases/d';
    const backend = spanner({ database }).create({ timeoutMs: 300 });
    let up = false;
    const claim = claimOf();
    const knocking = (async () => {
      for (;;) {
        const result = await backend.lease.read(claim.name).catch((error: unknown) => error);
        if (!(result instanceof Error)) return result;
        if (up) await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    await until(() => attempts >= ATTEMPTS, `${ATTEMPTS} attempts to connect`, 20_000);
    refusing.close();
    await once(refusing, 'close');
    const emulator = await startSpannerEmulator({ port, ddl: TABLE_DDL });
    up = true;
    expect(await knocking).toEqual({ token: 0n, expiresInMs: 0 });
    await backend.close();
    emulator.close();
  }, 60_000);
});
