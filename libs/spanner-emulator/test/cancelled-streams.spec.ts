import { once } from 'node:events';
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Protos } from '../src/service/protos.js';
import { openSession, openTarget, type Target } from './target.js';

/** Exceeds the limit of Node, which ends a connection after 1,000 cancelled streams and 33 more for each second. */
const READS = 3_000;
const AT_ONCE = 50;

describe('a client that ends each read after its first row', () => {
  let target: Target;
  let session: ClientHttp2Session;
  let request: Buffer;

  beforeAll(async () => {
    target = await openTarget();
    const api = await openSession(target);
    await api.client.close();
    const sql = "SELECT 'first' UNION ALL SELECT 'second'";
    const message = new Protos().encode('google.spanner.v1.ExecuteSqlRequest', { session: api.session, sql });
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    request = Buffer.concat([prefix, message]);
    // A window of a few bytes prevents the server from ending the stream before the client does.
    session = connect(`http://${target.address}`, { settings: { initialWindowSize: 8 } });
  });
  afterAll(async () => {
    session.destroy();
    await target.close();
  });

  const readFirst = async (): Promise<void> => {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/google.spanner.v1.Spanner/ExecuteStreamingSql',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.end(request);
    const closed = once(stream, 'close');
    await once(stream, 'data');
    stream.close(constants.NGHTTP2_CANCEL);
    await closed;
  };

  it('keeps its connection', async () => {
    const goaways: number[] = [];
    session.on('goaway', (code) => goaways.push(code));
    let left = READS;
    const reader = async (): Promise<void> => {
      while (left-- > 0) await readFirst();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, reader));
    // The answer to a ping arrives after all frames that the server sent before it.
    await new Promise<void>((resolve, reject) => {
      session.ping((error) => (error ? reject(error) : resolve()));
    });
    expect([goaways, session.closed]).toEqual([[], false]);
  }, 120_000);
});
