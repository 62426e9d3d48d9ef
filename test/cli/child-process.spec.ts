import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runUnderLock, type CommandUnderLock, type EndedCommand } from '../../libs/hedge/src/cli/child-process.js';
import { type Clock, type Instant, systemClock } from '../../libs/hedge/src/common/clock.js';
import { TIMING_PRESETS } from '../../libs/hedge/src/common/timing.js';
import { until } from '../nest/apps.js';

/** Writes its process id to `pid`, and goes on at SIGTERM, which it notes in `terminated`. */
const STUBBORN = `const { writeFileSync, renameSync } = require('fs');
  const write = (name, text) => { writeFileSync(name + '.tmp', text); renameSync(name + '.tmp', name); };
  process.on('SIGTERM', () => write('terminated', ''));
  setTimeout(() => process.exit(), 120000);
  write('pid', String(process.pid));`;

/** SIGKILL does not follow SIGTERM within a test. */
const TIMING = { ...TIMING_PRESETS.lan, leaseMs: 600_000 };

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

describe('a command under a lock', () => {
  let folder: string;
  let lines: string[];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'hedge-child-'));
    lines = [];
  });
  afterEach(() => {
    if (has('pid') && isRunning(pidOf())) process.kill(pidOf(), 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const has = (file: string): boolean => existsSync(join(folder, file));
  const pidOf = (): number => Number(readFileSync(join(folder, 'pid'), 'utf8'));

  function run(script: string, lock: CommandUnderLock['lock'], clock: Clock = systemClock): Promise<EndedCommand> {
    return runUnderLock({
      command: 'sh',
      args: ['-c', `cd "$0"; ${script}`, folder],
      environment: { NODE: process.execPath, STUBBORN },
      lock,
      timing: TIMING,
      foreground: false,
      warn: (line) => lines.push(line),
      clock,
    });
  }

  it('B9: is killed at once when the machine slept until the lease had ended', async () => {
    // The monotonic clock stands still meanwhile.
    let sleptMs = 0;
    let valid = true;
    const now = (): Instant => ({ ...systemClock.now(), wall: Date.now() + sleptMs });
    const lock = { signal: new AbortController().signal, isValid: () => valid };
    const ended = run('exec "$NODE" -e "$STUBBORN"', lock, { ...systemClock, now });
    await until(() => has('pid'), 'the command runs');
    sleptMs = 3_600_000;
    valid = false;
    expect(await ended).toEqual({ code: 128 + 9, lost: true });
    expect(has('terminated')).toBe(false);
  });

  it('B9: is killed at once when the machine slept after SIGTERM until the lease had ended', async () => {
    let sleptMs = 0;
    let valid = true;
    const now = (): Instant => ({ ...systemClock.now(), wall: Date.now() + sleptMs });
    const lock = { signal: new AbortController().signal, isValid: () => valid };
    const ended = run('exec "$NODE" -e "$STUBBORN"', lock, { ...systemClock, now });
    await until(() => has('pid'), 'the command runs');
    valid = false;
    await until(() => has('terminated'), 'SIGTERM');
    sleptMs = 3_600_000;
    expect(await ended).toEqual({ code: 128 + 9, lost: true });
  });

  it('B9: is killed at once when it went on in a pause, and the lock was still valid at its end', async () => {
    // The lock manager finds its lock lost a moment after the first check, because the renewal is too late.
    let pausedMs = 0;
    let checksAfter = 0;
    const now = (): Instant => {
      const { mono, wall } = systemClock.now();
      return { mono: mono + pausedMs, wall: wall + pausedMs };
    };
    const isValid = (): boolean => pausedMs === 0 || (checksAfter += 1) === 1;
    const lock = { signal: new AbortController().signal, isValid };
    const ended = run('exec "$NODE" -e "$STUBBORN"', lock, { ...systemClock, now });
    await until(() => has('pid'), 'the command runs');
    pausedMs = 595_000;
    expect(await ended).toEqual({ code: 128 + 9, lost: true });
    expect(has('terminated')).toBe(false);
  });

  it('A3: has ended when all processes of its group have ended', async () => {
    const lock = { signal: new AbortController().signal, isValid: () => true };
    let ended = false;
    const result = run('"$NODE" -e "$STUBBORN" & exit 4', lock).finally(() => (ended = true));
    await until(() => lines.length > 0, 'the warning');
    expect(lines[0]).toMatch(/^The command has ended, but it has left processes behind: pgrep -lg \d+ lists them/);
    expect(ended).toBe(false);
    process.kill(pidOf(), 'SIGKILL');
    expect(await result).toEqual({ code: 4, lost: false });
  });

  it('A3: signals the processes that the command has left behind when the lock is lost', async () => {
    let valid = true;
    const loss = new AbortController();
    const lock = { signal: loss.signal, isValid: () => valid };
    const result = run('"$NODE" -e "$STUBBORN" & exit 4', lock);
    await until(() => lines.length > 0, 'the command has ended');
    valid = false;
    loss.abort();
    await until(() => has('terminated'), 'SIGTERM');
    process.kill(pidOf(), 'SIGKILL');
    expect(await result).toEqual({ code: 4, lost: true });
  });

  const HAS_SETSID = process.platform === 'linux' && spawnSync('setsid', ['true']).status === 0;
  (HAS_SETSID ? it : it.skip)(
    'does not wait for a process that has ended, and that its parent never reaps',
    async () => {
      const lock = { signal: new AbortController().signal, isValid: () => true };
      // The parent of `true` leaves the group, and does not wait.
      const leaves = `true & exec setsid "$NODE" -e "$STUBBORN"`;
      expect(await run(`sh -c '${leaves}' & until [ -e pid ]; do sleep 0.05; done; exit 4`, lock)).toEqual({
        code: 4,
        lost: false,
      });
      expect(isRunning(pidOf())).toBe(true);
    },
  );
});
