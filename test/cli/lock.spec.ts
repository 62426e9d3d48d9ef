import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import Libsql from 'libsql';
import { LockService } from 'nestjs-hedge';
import { until } from '../nest/apps.js';
import { LiveGroup, Running } from './command-line.js';

/** A command that runs until a signal, which it prints; it ends with the command line, also when that is killed. */
const WAITS = [
  process.execPath,
  '-e',
  `const parent = process.ppid;
  setInterval(() => process.ppid === parent || process.exit(), 50);
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { console.log('got ' + signal); process.exit(5); });
  console.log('runs with ' + process.env.HEDGE_FENCING_TOKEN);`,
];

const tokenOf = (running: Running): bigint => BigInt(/runs with (\d+)/.exec(running.out)![1]!);

const prints = (code: string): string[] => ['--', process.execPath, '-e', code];

describe('nestjs-hedge lock', () => {
  let group: LiveGroup;
  let locks: LockService;
  beforeAll(async () => {
    group = await LiveGroup.start('sqlite');
    locks = group.leader.get(LockService);
  });
  afterEach(() => Running.killAll());
  afterAll(() => group.close());

  const start = (...args: readonly string[]): Running => new Running([...group.options, ...args]);
  const isFree = async (name: string): Promise<boolean> => (await locks.holder(name)) === undefined;

  it('runs a command with the token in its environment, and ends with its exit code', async () => {
    const code =
      'const { HEDGE_GROUP: g, HEDGE_LOCK: l, HEDGE_FENCING_TOKEN: t } = process.env; console.log(g, l, t); process.exit(7)';
    const ended = await start('lock', 'report', ...prints(code)).ended;
    expect(ended).toMatchObject({ code: 7, err: '' });
    expect(ended.out).toMatch(/^cli report \d{19}\n$/);
    const lock = await locks.acquire('report');
    expect(lock.fencingToken).toBeGreaterThan(BigInt(ended.out.split(' ')[2]!));
    await lock.release();
  });

  it('excludes the pods while the command runs, and frees the lock when it has ended', async () => {
    const running = start('lock', 'shared', '--', ...WAITS);
    await running.until('runs with');
    expect(await locks.tryAcquire('shared')).toBeUndefined();
    running.signal('SIGTERM');
    expect(await running.ended).toMatchObject({ code: 5, out: expect.stringContaining('got SIGTERM') });
    expect(await isFree('shared')).toBe(true);
  });

  it('passes SIGINT on, and ends with 128 and the signal that ended the command', async () => {
    const trapping = start('lock', 'interrupted', '--', ...WAITS);
    await trapping.until('runs with');
    trapping.signal('SIGINT');
    expect(await trapping.ended).toMatchObject({ code: 5, out: expect.stringContaining('got SIGINT') });
    const plain = start('lock', 'interrupted', ...prints("console.log('runs'); setInterval(() => {}, 1000)"));
    await plain.until('runs');
    plain.signal('SIGTERM');
    expect(await plain.ended).toMatchObject({ code: 128 + 15 });
    expect(await isFree('interrupted')).toBe(true);
  });

  it('reaches the children of a shell, too', async () => {
    const [node, flag, code] = WAITS as [string, string, string];
    const shell = start('lock', 'shell', '--', 'sh', '-c', `trap : TERM; "${node}" ${flag} "$0"; exit 9`, code);
    await shell.until('runs with');
    shell.signal('SIGTERM');
    expect(await shell.ended).toMatchObject({ code: 9, out: expect.stringContaining('got SIGTERM') });
    expect(await isFree('shell')).toBe(true);
  });

  it('ends with 124 when the lock is not free in time, and runs nothing', async () => {
    const lock = await locks.acquire('busy');
    for (const wait of ['0', '300ms']) {
      const ended = await start('lock', 'busy', '--wait', wait, ...prints("console.log('ran')")).ended;
      expect(ended).toMatchObject({
        code: 124,
        out: '',
        err: expect.stringContaining('Lock "busy" was not free within'),
      });
    }
    await lock.release();
  });

  it('waits without a limit by default, and stops waiting at a signal', async () => {
    const lock = await locks.acquire('later');
    const waiting = start('lock', 'later', ...prints("console.log('ran')"));
    const stopped = start('-v', 'lock', 'later', ...prints("console.log('ran')"));
    await until(() => stopped.err.includes('Leader of group'), 'the client has started');
    stopped.signal('SIGTERM');
    expect(await stopped.ended).toMatchObject({ code: 128 + 15, out: '' });
    await lock.release();
    expect(await waiting.ended).toEqual({ code: 0, out: 'ran\n', err: '' });
  });

  it.each([
    [['no-such-command'], 127, 'The command no-such-command was not found'],
    [['./package.json'], 126, 'The command ./package.json cannot be executed'],
  ])('refuses %j', async (words, code, message) => {
    expect(await start('lock', 'wrong', '--', ...words).ended).toMatchObject({
      code,
      err: expect.stringContaining(message),
    });
    expect(await isFree('wrong')).toBe(true);
  });

  it.each([
    [['lock', 'a'], "missing required argument 'command'"],
    [['lock', 'a', '--wait', 'long', '--', 'true'], '"long" is no duration'],
    [['lock', '__hedge/a', '--', 'true'], 'is reserved'],
  ])('%j ends with code 2', async (args, message) => {
    expect(await group.run(...args)).toMatchObject({ code: 2, err: expect.stringContaining(message) });
  });

  it('L2: sends SIGTERM before the lease ends when the database does not answer', async () => {
    const running = start('--timing', 'local', 'lock', 'outage', '--', ...WAITS);
    await running.until('runs with');
    const file = group.options[group.options.indexOf('--file') + 1]!;
    const blocker = new Libsql(file);
    blocker.exec('BEGIN IMMEDIATE');
    try {
      const ended = await running.ended;
      expect(ended).toMatchObject({ code: 125, out: expect.stringContaining('got SIGTERM') });
      expect(ended.err).toContain('Lock "outage" is lost');
    } finally {
      blocker.exec('ROLLBACK');
      blocker.close();
    }
  });

  it('kills the command at once when the process stood still until its lease had ended', async () => {
    const running = start('--timing', 'local', 'lock', 'stopped', '--', ...WAITS);
    await running.until('runs with');
    running.signal('SIGSTOP');
    const next = await locks.acquire('stopped', { timeoutMs: 60_000 });
    running.signal('SIGCONT');
    const ended = await running.ended;
    expect(ended).toMatchObject({ code: 125, out: expect.not.stringContaining('got SIGTERM') });
    expect(next.isValid()).toBe(true);
    await next.release();
  });

  it('run-as-leader runs a command on one process, and on another when the first is killed', async () => {
    const first = start('--timing', 'local', 'run-as-leader', '--', ...WAITS);
    await first.until('runs with');
    const second = start('--timing', 'local', '-v', 'run-as-leader', '--', ...WAITS);
    await until(() => second.err.includes('Leader of group'), 'the second has started');
    expect(second.out).toBe('');
    first.signal('SIGKILL');
    await second.until('runs with');
    expect(tokenOf(second)).toBeGreaterThan(tokenOf(first));
    second.signal('SIGTERM');
    expect(await second.ended).toMatchObject({ code: 5 });
  });

  it('run-as-leader contends again after it has lost the lock', async () => {
    const running = start('--timing', 'local', 'run-as-leader', '--name', 'again', '--', ...WAITS);
    await running.until('runs with');
    running.signal('SIGSTOP');
    // Its lease is short: the first process may miss the announcement that it was released, and then waits for its end.
    const next = start('--timing', 'local', 'lock', 'again', '--', ...WAITS);
    await next.until('runs with');
    running.signal('SIGCONT');
    await until(() => running.err.includes('waits for its next turn'), 'the loss is reported');
    next.signal('SIGTERM');
    await next.ended;
    await until(() => (running.out.match(/runs with/g) ?? []).length === 2, 'the command runs again');
    running.signal('SIGTERM');
    expect(await running.ended).toMatchObject({ code: 5 });
  });
});
