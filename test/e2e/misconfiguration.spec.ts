import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { agree, eventually, Pods, StartFailed } from './pods.js';

describe('a misconfigured pod', () => {
  let pods: Pods;
  beforeEach(async () => {
    pods = await Pods.make();
  });
  afterEach(() => pods.close());

  it('does not start on a port in use, and names it', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    try {
      await expect(pods.start({ address: `127.0.0.1:${port}` })).rejects.toThrow(
        new RegExp(`INVALID_OPTIONS[^]*${port}|${port}[^]*INVALID_OPTIONS`),
      );
    } finally {
      server.close();
    }
  }, 30_000);

  it('does not start on a file that is not a database, and names it', async () => {
    await writeFile(pods.file, 'this is not a database, and long enough to be sure of it\n'.repeat(100));
    await expectRefused(pods.start(), pods.file);
  }, 30_000);

  it('does not start on a path that is a directory', async () => {
    await mkdir(pods.file);
    await expectRefused(pods.start(), pods.file);
  }, 30_000);

  it('does not start with the address of another pod, which is unaffected', async () => {
    const [leader] = await pods.startGroup(1);
    await expect(pods.start({ address: leader!.address })).rejects.toThrow(/INVALID_OPTIONS/);
    await agree([leader!]);
  }, 30_000);

  it('of another group stays apart from this group', async () => {
    const [leader, follower] = await pods.startGroup(2);
    const stranger = await pods.start({ group: 'others' });
    await agree([stranger]);
    await agree([leader!, follower!]);
    expect(await stranger.call('who')).toEqual([stranger.pid]);
  }, 30_000);

  it('without the secret of the group is refused, and the group is unaffected', async () => {
    const [leader, follower] = await pods.startGroup(2);
    const stranger = await pods.start({ secret: 'a guess that is long enough to be valid' });
    await eventually('a refusal on both logs', async () =>
      /UNAUTHENTICATED|secret/i.test(stranger.output) && /refused/i.test(leader!.output) ? true : undefined,
    );
    await agree([leader!, follower!]);
    expect(await follower!.call('send', 0, 10_000)).toBe(leader!.pid);
  }, 30_000);
});

async function expectRefused(start: Promise<unknown>, place: string): Promise<void> {
  const failure = await start.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(StartFailed);
  expect((failure as StartFailed).message).toContain('INVALID_OPTIONS');
  expect((failure as StartFailed).message).toContain(place);
}
