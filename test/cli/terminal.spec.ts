import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import Libsql from 'libsql';
import { LockService } from 'nestjs-hedge';
import { until } from '../nest/apps.js';
import { HAS_TERMINALS, LiveGroup, TerminalSession } from './command-line.js';

/** Prints its process id, and each signal that it gets; ends at none of them, but with its terminal or with the test. */
const STUBBORN = `const parent = process.ppid;
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGCONT']) process.on(signal, () => console.log('got ' + signal));
  process.stdout.on('error', () => {});
  console.log('pid ' + process.pid);
  setTimeout(() => process.exit(), 120_000);
  setInterval(() => {}, 1_000);`;

const node = (code: string): string[] => ['--', process.execPath, '-e', code];

/** A shell that runs such a process in the background. */
const inBackground = (then: string): string[] => [
  '--',
  'sh',
  '-c',
  `"$0" -e "$1" & ${then}`,
  process.execPath,
  STUBBORN,
];

/** A process that has ended stays until its parent, here the first one of the machine, waits for it. */
function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

if (!HAS_TERMINALS) it.skip('script of util-linux is not installed here', () => undefined);

(HAS_TERMINALS ? describe : describe.skip)('nestjs-hedge lock at a terminal', () => {
  let group: LiveGroup;
  let locks: LockService;
  const pids: number[] = [];
  beforeAll(async () => {
    group = await LiveGroup.start('sqlite');
    locks = group.leader.get(LockService);
  });
  afterEach(async () => {
    for (const pid of pids.splice(0)) if (isRunning(pid)) process.kill(pid, 'SIGKILL');
    await TerminalSession.killAll();
  });
  afterAll(() => group.close());

  function start(...args: readonly string[]): TerminalSession {
    const session = new TerminalSession([...group.options, '--timing', 'local', ...args]);
    session.start();
    return session;
  }
  const pidOf = async (session: TerminalSession): Promise<number> => {
    await until(() => /pid \d+/.test(session.out), 'the process id');
    const pid = Number(/pid (\d+)/.exec(session.out)![1]);
    pids.push(pid);
    return pid;
  };
  const isFree = async (name: string): Promise<boolean> => (await locks.holder(name)) === undefined;

  it('A2: signals the children of the command when the lock is lost, and kills them before the lease ends', async () => {
    const session = start('lock', 'outage', ...inBackground('wait'));
    const pid = await pidOf(session);
    const blocker = new Libsql(group.options[group.options.indexOf('--file') + 1]!);
    blocker.exec('BEGIN IMMEDIATE');
    try {
      await session.until('The command was ended');
      expect(isRunning(pid)).toBe(false);
      expect(session.out).toContain('got SIGTERM');
      expect(await session.exitCode()).toBe(125);
    } finally {
      blocker.exec('ROLLBACK');
      blocker.close();
    }
  });

  it('A3: holds the lock until the children of the command have ended, and says so', async () => {
    const session = start('lock', 'children', ...inBackground('exit 7'));
    const pid = await pidOf(session);
    await session.until('it has left processes behind');
    expect(await isFree('children')).toBe(false);
    process.kill(pid, 'SIGKILL');
    expect(await session.exitCode()).toBe(7);
    expect(await isFree('children')).toBe(true);
  });

  it('lets the command read from the terminal, and passes Ctrl-C on to it and its children', async () => {
    const reads = `process.stdin.once('data', (line) => console.log('read ' + line));`;
    const session = start('lock', 'keys', '--', 'sh', '-c', '"$0" -e "$1"; exit 3', process.execPath, STUBBORN + reads);
    const pid = await pidOf(session);
    session.type('hello\n');
    await session.until('read hello');
    session.type('\x03');
    await session.until('got SIGINT');
    process.kill(pid, 'SIGKILL');
    await until(() => isFree('keys'), 'the lock is free');
  });

  it('stops the command at Ctrl-Z, and lets it go on while the lock is held', async () => {
    const session = start('lock', 'stop', ...node(STUBBORN));
    await pidOf(session);
    session.type('\x1a');
    await session.until('Stopped');
    session.type('fg\n');
    await session.until('got SIGCONT');
    expect(await isFree('stop')).toBe(false);
  });

  it('A2: never lets the command go on when its lease has ended during Ctrl-Z', async () => {
    const session = start('lock', 'late', ...node(STUBBORN));
    const pid = await pidOf(session);
    session.type('\x1a');
    await session.until('Stopped');
    const next = await locks.acquire('late', { timeoutMs: 60_000 });
    session.type('fg\n');
    await session.until('The command was ended');
    expect(isRunning(pid)).toBe(false);
    expect(session.out).not.toContain('got SIGCONT');
    expect(await session.exitCode()).toBe(125);
    await next.release();
  });

  it('sends SIGHUP to the command when the terminal is closed, and frees the lock when the command has ended', async () => {
    const session = start('lock', 'closed', ...inBackground('trap "kill -9 $!" HUP; wait; wait'));
    const pid = await pidOf(session);
    session.signal('SIGKILL');
    await until(() => !isRunning(pid), 'the command has ended');
    await until(() => isFree('closed'), 'the lock is free');
  });

  it('lets the command open the terminal with --foreground', async () => {
    const opens = ['--', 'sh', '-c', 'echo "$0" > /dev/tty', 'it can'];
    const session = start('lock', 'tty', '--foreground', ...opens);
    await session.until('it can');
    expect(await session.exitCode()).toBe(0);
    expect(await isFree('tty')).toBe(true);
  });
});
