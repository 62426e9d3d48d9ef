import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { onAbort } from '../common/async/on-abort.js';
import type { Timing } from '../common/timing.js';
import type { Lock } from '../locks/lock.js';
import { CommandFailed, exitCode } from './exit-codes.js';

/** Signals that are passed on to the command. */
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/** The looks at the lock per lease. */
const LOOKS_PER_LEASE = 16;

export interface CommandUnderLock {
  readonly command: string;
  readonly args: readonly string[];
  /** Added to the environment of the command. */
  readonly environment: Readonly<Record<string, string>>;
  readonly lock: Pick<Lock, 'signal' | 'isValid'>;
  readonly timing: Timing;
  /**
   * Whether a person sits at the terminal. Then the command stays in the process group of the terminal, so that it can read
   * from it, and the terminal sends it Ctrl-C. Otherwise it leads a group of its own, and signals reach its children too.
   */
  readonly interactive: boolean;
}

export interface EndedCommand {
  /** The exit code of the command, or 128 and the number of the signal that ended it. */
  readonly code: number;
  /** The lock was lost, and the command was ended for this reason. */
  readonly lost: boolean;
}

/**
 * Runs a command while a lock is held. When the lock is lost, the command gets SIGTERM at once, and SIGKILL before the
 * lease ends in the database: the lease outlives its last renewal by `leaseMs`, and the lock is lost `renewDeadlineMs`
 * after it. A stalled process may notice the loss after the lease has ended. Then it kills the command at once.
 *
 * @throws CommandFailed when the command cannot be started
 */
export async function runUnderLock(options: CommandUnderLock): Promise<EndedCommand> {
  const { command, args, environment, lock, timing, interactive } = options;
  const child = spawn(command, args, {
    stdio: 'inherit',
    env: { ...process.env, ...environment },
    detached: !interactive,
  });
  const send = (signal: NodeJS.Signals): void => signalTo(child, signal, interactive);
  const passOn = (signal: NodeJS.Signals): void => {
    // The terminal has sent these two to the whole group.
    if (!interactive || (signal !== 'SIGINT' && signal !== 'SIGQUIT')) send(signal);
  };
  for (const signal of PASSED_ON) process.on(signal, passOn);
  // If this process fails, nothing renews the lock.
  const kill = (): void => send('SIGKILL');
  process.on('exit', kill);
  let lost = false;
  let validAt = performance.now();
  const look = setInterval(() => {
    if (lock.isValid()) validAt = performance.now();
  }, timing.leaseMs / LOOKS_PER_LEASE);
  let killing: NodeJS.Timeout | undefined;
  let stopListening: (() => void) | undefined;
  const onLost = (): void => {
    lost = true;
    const graceMs = timing.leaseMs - timing.renewDeadlineMs - timing.marginMs;
    const leftMs = validAt + graceMs - performance.now();
    if (leftMs > 0) send('SIGTERM');
    killing = setTimeout(kill, Math.max(0, leftMs));
  };
  try {
    const ended = endOf(child);
    await started(child, command);
    if (lock.signal.aborted) onLost();
    else stopListening = onAbort(lock.signal, onLost);
    const code = await ended;
    // A process that the command has left behind would go on without the lock.
    if (lost && !interactive) send('SIGKILL');
    return { code, lost };
  } finally {
    clearInterval(look);
    clearTimeout(killing);
    process.off('exit', kill);
    stopListening?.();
    for (const signal of PASSED_ON) process.off(signal, passOn);
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

/** Sends a signal to the command, or to its whole group. */
function signalTo({ pid }: ChildProcess, signal: NodeJS.Signals, interactive: boolean): void {
  if (pid === undefined) return;
  try {
    process.kill(interactive ? pid : -pid, signal);
  } catch {
    // It has ended.
  }
}
