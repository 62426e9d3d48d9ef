import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { onAbort } from '../common/async/on-abort.js';
import { type Clock, longestElapsed, systemClock } from '../common/clock.js';
import type { Timing } from '../common/timing.js';
import type { Lock } from '../locks/lock.js';
import { CommandFailed, exitCode } from './exit-codes.js';

/** Signals that are passed on to the command. The terminal sends the first two to its whole foreground group. */
const TERMINAL_SIGNALS = ['SIGINT', 'SIGQUIT'] as const;
const PASSED_ON = [...TERMINAL_SIGNALS, 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const;

/** The pause between two checks of the lock while the command runs. */
const CHECK_MS = 50;

/** The longest pause between two looks for processes that the command has left behind. */
const MAX_PAUSE_MS = 1_000;
/** The looks, in about a second, after which a line names the process group that still runs. */
const QUIET_LOOKS = 7;

export interface CommandUnderLock {
  readonly command: string;
  readonly args: readonly string[];
  /** Added to the environment of the command. */
  readonly environment: Readonly<Record<string, string>>;
  readonly lock: Pick<Lock, 'signal' | 'isValid'>;
  readonly timing: Timing;
  /**
   * Whether the command stays in the process group and the session of this process, so that it can open `/dev/tty`. Then
   * its children get no signals, and may run after it.
   */
  readonly foreground: boolean;
  readonly warn: (line: string) => void;
  readonly clock?: Clock;
}

export interface EndedCommand {
  /** The exit code of the command, or 128 and the number of the signal that ended it. */
  readonly code: number;
  /** The lock was lost, and the command was ended for this reason. */
  readonly lost: boolean;
}

/**
 * Runs a command while a lock is held. The command leads a process group, and a session, of its own. Resolves when all
 * processes of the group have ended, so the lock outlives them.
 *
 * When the lock is lost, the group gets SIGTERM at once, and SIGKILL before the lease ends in the database: the lease
 * outlives its last renewal by `leaseMs`, and the lock is lost `renewDeadlineMs` after it. A process that stood still, or a
 * machine that slept, may notice the loss after that time. Then it kills the group at once.
 *
 * On Ctrl-Z the group stops before this process does, and it goes on only while the lock is held.
 *
 * @throws CommandFailed when the command cannot be started
 */
export async function runUnderLock(options: CommandUnderLock): Promise<EndedCommand> {
  const { command, args, environment, lock, timing, foreground, warn, clock = systemClock } = options;
  // Before the start, which may take long.
  let validAt = clock.now();
  let checkedAt = validAt;
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: { ...process.env, ...environment },
    detached: !foreground,
  });
  const send = (signal: NodeJS.Signals): void => signalTo(child, signal, foreground);

  const graceMs = timing.leaseMs - timing.renewDeadlineMs - timing.marginMs - CHECK_MS;
  let lost = false;
  const check = (): void => {
    const wasLost = lost;
    lost ||= !lock.isValid();
    const now = clock.now();
    // After a pause, the lock may be valid although its renewal is too late, and the time of its loss has passed.
    const onTime = longestElapsed(checkedAt, now) <= 4 * CHECK_MS;
    checkedAt = now;
    if (!lost && onTime) validAt = now;
    if (!lost) return;
    if (longestElapsed(validAt, now) >= graceMs) send('SIGKILL');
    else if (!wasLost) send('SIGTERM');
  };

  const handlers = new Map<NodeJS.Signals, () => void>();
  for (const signal of PASSED_ON) handlers.set(signal, () => send(signal));
  if (foreground) for (const signal of TERMINAL_SIGNALS) handlers.set(signal, () => undefined);
  else handlers.set('SIGTSTP', () => (send('SIGSTOP'), process.kill(process.pid, 'SIGSTOP')));
  handlers.set('SIGCONT', () => (check(), send('SIGCONT')));
  for (const [signal, handler] of handlers) process.on(signal, handler);
  // If this process fails, nothing renews the lock.
  const kill = (): void => send('SIGKILL');
  process.on('exit', kill);
  const checks = setInterval(check, CHECK_MS);
  let stopListening: (() => void) | undefined;
  try {
    const ended = endOf(child);
    await started(child, command);
    check();
    stopListening = onAbort(lock.signal, check);
    const code = await ended;
    if (!foreground) await endOfGroup(child.pid!, warn);
    return { code, lost };
  } finally {
    clearInterval(checks);
    process.off('exit', kill);
    stopListening?.();
    for (const [signal, handler] of handlers) process.off(signal, handler);
  }
}

function endOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? exitCode('signal') + constants.signals[signal!]));
  });
}

function started(child: ChildProcess, command: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      const message = missing
        ? `The command ${command} was not found. Check its name and PATH.`
        : `The command ${command} cannot be executed: ${error.message}. Check its permissions.`;
      reject(new CommandFailed(missing ? 'noCommand' : 'notExecutable', message, { cause: error }));
    });
  });
}

/** Sends a signal to the group of the command; with `foreground`, to the command. */
function signalTo({ pid }: ChildProcess, signal: NodeJS.Signals, foreground: boolean): void {
  if (pid === undefined) return;
  try {
    process.kill(foreground ? pid : -pid, signal);
  } catch {
    // It has ended, or it runs as another user.
  }
}

/** Waits for the processes that the command has left behind. */
async function endOfGroup(group: number, warn: (line: string) => void): Promise<void> {
  // Two looks, because a look may see a process that ends, and not the one that it has just started.
  let quiet = 0;
  for (let looks = 1; ; looks += 1) {
    quiet = groupRuns(group) ? 0 : quiet + 1;
    if (quiet === 2) return;
    if (looks === QUIET_LOOKS) {
      warn(
        `The command has ended, but it has left processes behind: pgrep -lg ${group} lists them. The lock is held until they end.`,
      );
    }
    await sleep(Math.min(MAX_PAUSE_MS, 10 * 2 ** looks));
  }
}

/** Whether a process of the group still runs. */
function groupRuns(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch (error) {
    // EPERM: a process of another user, which may be invisible.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
  // A process that has ended is in its group until its parent waits for it, which the first process of a container may
  // never do.
  const members = membersOf(group);
  return members.length === 0 || members.some(({ ended }) => !ended);
}

/** The visible processes of a group, on Linux. Elsewhere none. */
function membersOf(group: number): { readonly ended: boolean }[] {
  try {
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .flatMap((pid) => {
        // https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: the name, in brackets, may contain spaces.
        const stat = textOf(`/proc/${pid}/stat`);
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        const [state = '', , pgrp] = fields;
        // Its other threads may outlive the main one.
        const threads = Number(fields[17]);
        return Number(pgrp) === group ? { ended: 'ZX'.includes(state) && threads <= 1 } : [];
      });
  } catch {
    return [];
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // The process has ended meanwhile.
    return '';
  }
}
