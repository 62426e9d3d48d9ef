import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { CertificateAuthority } from '../../testing/certificates.js';
import { RecordingTransport } from '../../testing/recording-transport.js';
import type { TlsOptions } from './credentials.js';
import { GrpcTransport } from './grpc-transport.js';

// Handshakes are slow on a machine that is busy with other tests.
jest.setTimeout(30_000);

const ours = new CertificateAuthority('ours');
const theirs = new CertificateAuthority('theirs');
const NAME = 'orders.internal';
const tls = (more: Partial<TlsOptions> = {}): TlsOptions => ({
  ca: ours.cert,
  serverName: NAME,
  ...ours.issue(NAME),
  ...more,
});

const made: RecordingTransport[] = [];

async function member(options: TlsOptions | undefined): Promise<RecordingTransport> {
  const address = '127.0.0.1:0';
  const recording = new RecordingTransport(
    (self) =>
      new GrpcTransport({
        group: 'orders',
        self,
        bind: address,
        secret: async () => Buffer.from('secret'),
        heartbeatTimeoutMs: 3_000,
        tls: options,
      }),
    address,
  );
  made.push(recording);
  await recording.transport.listen();
  return recording;
}

beforeAll(() => {
  // grpc-js logs failed TLS connections on the console, too.
  jest.spyOn(console, 'error').mockImplementation(() => undefined);
});
afterAll(() => {
  jest.restoreAllMocks();
});
afterEach(async () => {
  await Promise.all(made.splice(0).map(({ transport }) => transport.close()));
});

describe('TLS', () => {
  it.each([false, true])('links members of one authority (client certificates required: %p)', async (required) => {
    const options = { requireClientCertificate: required };
    const [a, b] = [await member(tls(options)), await member(tls(options))];
    const link = await a.transport.dial(b.self);
    expect(link.peer).toEqual(b.self);
  });

  it.each<[string, TlsOptions | undefined]>([
    ['without TLS', undefined],
    ['that trusts another authority', tls({ ca: theirs.cert })],
    ['that expects another name', tls({ serverName: 'payments.internal' })],
  ])('a caller %s gets no link', async (_who, options) => {
    const [a, b] = [await member(options), await member(tls())];
    await expect(a.transport.dial(b.self)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
    expect(b.opened).toEqual([]);
  });

  it('a caller with TLS gets no link to a member without TLS', async () => {
    const [a, b] = [await member(tls()), await member(undefined)];
    await expect(a.transport.dial(b.self)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
  });

  it('mutual TLS refuses a caller with the secret whose certificate another authority signed', async () => {
    const [a, b] = [await member(tls(theirs.issue(NAME))), await member(tls({ requireClientCertificate: true }))];
    await expect(a.transport.dial(b.self)).rejects.toMatchObject({ code: 'MEMBER_UNREACHABLE' });
    expect(b.opened).toEqual([]);
    const open = await member(tls());
    expect((await a.transport.dial(open.self)).open).toBe(true);
  });

  it.each<[string, Partial<TlsOptions>]>([
    ['text that is no certificate', { cert: 'nope' }],
    ['a key of another certificate', { key: ours.issue(NAME).key }],
  ])('refuses %s', async (_what, more) => {
    await expect(member(tls(more))).rejects.toMatchObject({
      code: 'INVALID_OPTIONS',
      message: expect.stringContaining('Option `tls`'),
    });
  });
});
