import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { EventStreams } from '../../libs/hedge/src/nest/dashboard/event-streams.js';
import { until } from './apps.js';

const EVENT = 'x'.repeat(1_000_000);
const UNREAD_MS = 500;

describe('the streams of the dashboard', () => {
  let server: Server;
  let clients: Socket[];
  let responses: ServerResponse[];
  let streams: EventStreams;
  let senders: ((data: string) => void)[];
  let ended: number;

  beforeEach(async () => {
    [clients, responses, senders, ended] = [[], [], [], 0];
    streams = new EventStreams({ streams: 2, unreadMs: UNREAD_MS });
    server = createServer((_, response) => {
      responses.push(response);
      streams.open(response, (send) => {
        senders.push(send);
        return () => (ended += 1);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    for (const client of clients) client.destroy();
    await new Promise((resolve) => server.close(resolve));
  });

  async function open(reads: boolean): Promise<Socket> {
    const before = senders.length;
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    clients.push(client);
    client.on('error', () => undefined);
    if (reads) client.resume();
    client.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until(() => senders.length > before, 'the stream');
    return client;
  }

  it('keep at most one event for a client that does not read, and cut it', async () => {
    await open(false);
    let most = 0;
    // The buffers of the operating system take the first ones.
    await until(() => {
      senders[0]!(EVENT);
      most = Math.max(most, responses[0]!.writableLength);
      return ended === 1;
    }, 'the end of the stream');
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(2 * EVENT.length);
  });

  it('keep a client that reads', async () => {
    const client = await open(true);
    let received = 0;
    client.on('data', ({ length }) => (received += length));
    for (const end = performance.now() + 2 * UNREAD_MS; performance.now() < end;) {
      const expected = received + EVENT.length;
      senders[0]!(EVENT);
      await until(() => received >= expected, 'the event');
    }
    expect(ended).toBe(0);
  });

  it('end at `close` also when a client does not read', async () => {
    await open(false);
    // Until the buffers of the operating system take no more.
    let full = 0;
    await until(() => {
      senders[0]!(EVENT);
      full = responses[0]!.writableNeedDrain ? full + 1 : 0;
      return full === 10;
    }, 'a full buffer');
    streams.close();
    await until(() => ended === 1, 'the end of the stream');
  });

  it('are full at the limit, and no longer when one has ended', async () => {
    const first = await open(true);
    expect(streams.isFull).toBe(false);
    await open(true);
    expect(streams.isFull).toBe(true);
    first.destroy();
    await until(() => !streams.isFull, 'room');
  });
});
