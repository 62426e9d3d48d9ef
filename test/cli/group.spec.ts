import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { ClusterService, InspectionService, KvStore, LeaderService, type PodState } from 'nestjs-hedge';
import { VERSION } from '../../libs/hedge/src/common/version.js';
import { until } from '../nest/apps.js';
import { commandPaths, LiveGroup, nestjsHedge, Running } from './command-line.js';

afterEach(() => Running.killAll());

interface ShownMember {
  readonly address: string;
  readonly leader: boolean;
  readonly state: PodState;
}

describe.each(['sqlite', 'postgres'] as const)('the command line on %s', (database) => {
  let group: LiveGroup;
  beforeAll(async () => {
    group = await LiveGroup.start(database);
  });
  afterAll(() => group.close());

  const addressOf = (app: (typeof group.pods.apps)[number]): string => app.get(ClusterService).self.address;

  it('status shows the leader, its token and its pod', async () => {
    const { code, out, err } = await group.run('status');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toContain(`leader        ${addressOf(group.leader)}, since `);
    expect(out).toMatch(/^members {7}3$/m);
    expect(out).toContain(`nestjs-hedge ${VERSION}, Node ${process.version}`);
    const status = await group.json<{ token: string; state: PodState }>('status');
    expect(status.token).toBe(String(group.leader.get(LeaderService).fencingToken));
    expect(status.state).toMatchObject({
      group: 'cli',
      role: 'leader',
      lease: { leftMs: expect.any(Number) },
      topics: { leader: ['double', 'fail'], broadcast: ['flush', 'half'] },
    });
  });

  it('members lists each member with what it answers about itself', async () => {
    const { members, settled } = await group.json<{ members: ShownMember[]; settled: boolean }>('members');
    expect(settled).toBe(true);
    expect(members.map(({ address }) => address)).toEqual(group.pods.apps.map(addressOf).sort());
    for (const { address, leader, state } of members) {
      expect(state.member.address).toBe(address);
      expect(state.role).toBe(leader ? 'leader' : 'follower');
      expect(state.process.pid).toBe(process.pid);
    }
    const { out } = await group.run('members');
    expect(out.split('\n')[0]).toMatch(/^ADDRESS +ROLE +VERSION/);
    expect(out.trim().split('\n')).toHaveLength(4);
  });

  it('leader shows who leads', async () => {
    const { code, out } = await group.run('leader');
    expect(code).toBe(0);
    expect(out).toContain(`${addressOf(group.leader)}  token ${group.leader.get(LeaderService).fencingToken}`);
  });

  it('resign makes the leader step down, and shows the next one', async () => {
    const before = addressOf(group.leader);
    const { code, out, err } = await group.run('resign');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await until(() => group.pods.apps.some((app) => app.get(LeaderService).isLeader()), 'a leader');
    expect(addressOf(group.leader)).not.toBe(before);
    expect(out).toContain(addressOf(group.leader));
  });

  it('is in no view, and leaves the group as it was', async () => {
    await until(() => group.pods.apps.every((app) => app.get(ClusterService).view.settled), 'settled views');
    const versions = group.pods.apps.map((app) => app.get(ClusterService).view.version);
    const term = group.leader.get(LeaderService).fencingToken;
    await group.run('members');
    await group.run('send', 'double', '{"number":1}');
    expect(group.pods.apps.map((app) => app.get(ClusterService).view.version)).toEqual(versions);
    expect(group.leader.get(LeaderService).fencingToken).toBe(term);
    const links = (): number =>
      group.leader
        .get(InspectionService)
        .state()
        .links.filter(({ peer }) => peer.address === '').length;
    await until(() => links() === 0, 'the leader has no link to a client');
  });

  it('kv put --ttl puts a key that the leader deletes, and refuses a shorter time than a second', async () => {
    const kv = group.leader.get(KvStore);
    expect(await group.run('kv', 'put', 'session', 'ann', '--ttl', '1s')).toMatchObject({ code: 0, err: '' });
    await until(async () => (await kv.get('session')) === undefined, 'the deletion');
    expect((await kv.history('session'))[0]).toMatchObject({ expired: true });
    expect((await group.run('kv', 'history', 'session')).out).toContain('(expired)');
    expect(await group.run('kv', 'put', 'session', 'ann', '--ttl', '10ms')).toMatchObject({
      code: 2,
      err: expect.stringContaining('"ttlMs" of put "session" must be'),
    });
  });

  it('send prints the reply of the leader', async () => {
    expect(await group.run('send', 'double', '{"number":21}')).toEqual({ code: 0, out: '{"doubled":42}\n', err: '' });
  });

  it.each([
    [['send', 'fail'], 1, 'out of paper'],
    [['send', 'nothing'], 1, "No method is decorated with @OnLeaderMessage('nothing')"],
    [['send', 'double', '{number:1}'], 2, 'The message {number:1} is no JSON'],
  ])('%j fails with code %d', async (args, code, message) => {
    expect(await group.run(...args)).toMatchObject({ code, out: '', err: expect.stringContaining(message) });
  });

  it('broadcast prints the reply of each member, and fails when one fails', async () => {
    const replies = await group.json<{ member: { address: string }; value: unknown }[]>('broadcast', 'flush');
    expect(replies.map(({ member, value }) => [member.address, value])).toEqual(
      group.pods.apps
        .map(addressOf)
        .sort()
        .map((address) => [address, { flushed: true }]),
    );
    const failed = await group.run('broadcast', 'half', '{"fails":true}');
    expect(failed.code).toBe(1);
    expect(failed.out.match(/HANDLER_FAILED: .*out of ink/g)).toHaveLength(3);
  });

  it('leader --watch and members --watch show each change until a signal', async () => {
    const leaders = new Running([...group.options, 'leader', '--watch']);
    const members = new Running([...group.options, '-o', 'json', 'members', '--watch']);
    await leaders.until(addressOf(group.leader));
    await members.until('"settled":true');
    const token = group.leader.get(LeaderService).fencingToken;
    await group.leader.get(LeaderService).resign();
    await until(() => group.pods.apps.some((app) => app.get(LeaderService).isLeader()), 'a leader');
    const next = group.leader.get(LeaderService).fencingToken;
    await leaders.until(`token ${next}`);
    await members.until(`"epoch":"${next}"`);
    expect(leaders.out).toContain(`token ${token}`);
    leaders.signal('SIGINT');
    members.signal('SIGTERM');
    expect([await leaders.ended, await members.ended]).toMatchObject([
      { code: 0, err: '' },
      { code: 0, err: expect.any(String) },
    ]);
  });

  it('says that a group without a row has never had a leader', async () => {
    const ended = await nestjsHedge(...group.options, '--group', 'other', 'status');
    expect(ended).toMatchObject({
      code: 3,
      out: '',
      err: expect.stringContaining('Group other has never had a leader'),
    });
  });
});

describe('a wrong command line', () => {
  it.each([
    [['status'], 2, 'No group was given. Give --group NAME, or set HEDGE_GROUP'],
    [['status', '--group', 'a'], 2, 'No database was given. Give --file PATH'],
    [['status', '--group', 'a', '--file', '/nowhere/hedge.db'], 2, 'There is no file /nowhere/hedge.db'],
    [['status', '--group', 'a b', '--file', 'package.json'], 2, "group is 'a b'"],
    [['status', '--group', 'a', '--url', 'mysql://x'], 2, 'connectionString must be postgres://'],
    [['status', '--group', 'a', '--file', 'x', '--url', 'postgres://x/y'], 2, '--file and --url were given'],
    [['status', '--group', 'a', '--backend', 'postgres'], 2, 'The database needs --url'],
    [['status', '--group', 'a', '--url', 'postgres://x/y', '--tls-ca', 'x'], 2, '--tls-ca, --tls-cert and --tls-key'],
    [['status', '--timeout', 'soon'], 2, '"soon" is no duration'],
    [['status', '--output', 'xml'], 2, 'Allowed choices are text, json'],
    [['statsu'], 2, "unknown command 'statsu'"],
    [['status', '--nonsense'], 2, "unknown option '--nonsense'"],
    [['send'], 2, "missing required argument 'topic'"],
  ])('%j ends with code %d', async (args, code, message) => {
    expect(await nestjsHedge(...args)).toMatchObject({ code, out: '', err: expect.stringContaining(message) });
  });

  it('reports errors as JSON on request', async () => {
    const { code, err } = await nestjsHedge('status', '-o', 'json');
    expect(code).toBe(2);
    expect(JSON.parse(err)).toEqual({
      error: { code: 'USAGE', message: expect.stringContaining('No group was given') },
    });
  });

  it('ends with code 5 when the database does not answer', async () => {
    const ended = await nestjsHedge('status', '--group', 'a', '--url', 'postgres://127.0.0.1:1/none');
    expect(ended).toMatchObject({ code: 5, out: '', err: expect.stringContaining('127.0.0.1:1/none') });
  });
});

describe('the help', () => {
  it('of each command has an example that begins with its own name', async () => {
    const commands = await commandPaths();
    expect(commands).toEqual(expect.arrayContaining(['status', 'lock', 'kv get', 'jobs remove', 'doctor', 'schema']));
    for (const command of commands) {
      const help = await nestjsHedge(...command.split(' '), '--help');
      expect({ command, code: help.code, out: help.out }).toEqual({
        command,
        code: 0,
        out: expect.stringContaining(`Example:\n  $ nestjs-hedge ${command} `.trimEnd()),
      });
    }
  });

  it('shows the version', async () => {
    expect(await nestjsHedge('--version')).toEqual({ code: 0, out: `${VERSION}\n`, err: '' });
  });
});
