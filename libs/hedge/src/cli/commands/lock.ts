import { Option, type Command } from 'commander';
import { HedgeError, messageOf } from '../../common/errors.js';
import type { Lock } from '../../locks/lock.js';
import { runUnderLock, type EndedCommand } from '../child-process.js';
import { parseDuration } from '../connection.js';
import { CommandFailed } from '../exit-codes.js';
import { Interrupted, type CommandAdder, type CommandContext } from '../command.js';

/** The lock that the processes of `run-as-leader` contend for, without --name. */
const DEFAULT_NAME = 'run-as-leader';

export function addLockCommands(program: Command, { add, run }: CommandAdder): void {
  add(
    program,
    'lock <name> <command...>',
    'Runs a command while it holds a lock, and ends with the exit code of the command.',
    'lock invoices --wait 5s -- ./send-invoices.sh',
  )
    .addOption(
      new Option('--wait <duration>', 'how long to wait for the lock; 0 tries once')
        .argParser(parseDuration)
        .default(Infinity, 'no limit'),
    )
    .addOption(foregroundOption())
    .addHelpText('after', ENVIRONMENT)
    .action((name: string, words: string[], { wait, foreground }: LockOptions, command: Command) =>
      run(command, (context) => runWithLock(context, name, { words, foreground }, wait), { handlesSignals: true }),
    );

  add(
    program,
    'run-as-leader <command...>',
    'Runs a command on one of all processes that run this with the same name. The others wait, and one of them takes over.',
    'run-as-leader -- node worker.js',
  )
    .option('--name <lock>', 'the lock that they contend for', DEFAULT_NAME)
    .addOption(foregroundOption())
    .addHelpText('after', ENVIRONMENT)
    .action((words: string[], { name, foreground }: LeaderOptions, command: Command) =>
      run(command, (context) => runAsLeader(context, name, { words, foreground }), { handlesSignals: true }),
    );
}

interface LockOptions {
  readonly wait: number;
  readonly foreground: boolean;
}

interface LeaderOptions {
  readonly name: string;
  readonly foreground: boolean;
}

/** The command to run, with its arguments. */
interface Child {
  readonly words: readonly string[];
  readonly foreground: boolean;
}

function foregroundOption(): Option {
  const what = 'lets the command open the terminal, for passwords; its children may then outlive the lock';
  return new Option('--foreground', what).default(false, 'no');
}

const ENVIRONMENT =
  '\nThe command gets HEDGE_GROUP, HEDGE_LOCK and HEDGE_FENCING_TOKEN in its environment. When the lock is lost, the command and its children get SIGTERM, and SIGKILL before the lease ends. The lock is held until they have ended.';

async function runWithLock(context: CommandContext, name: string, child: Child, wait: number): Promise<number> {
  const lock = await acquire(context, name, wait);
  const { code, lost } = await runHolding(context, lock, child);
  if (lost) throw new CommandFailed('lost', `${messageOf(lock.signal.reason)}. The command was ended.`);
  return code;
}

/** After a loss it contends again, since the command is meant to run somewhere at all times. */
async function runAsLeader(context: CommandContext, name: string, child: Child): Promise<number> {
  for (;;) {
    const lock = await acquire(context, name, Infinity);
    const { code, lost } = await runHolding(context, lock, child);
    if (!lost) return code;
    context.terminal.err(
      `nestjs-hedge: The command was ended and waits for its next turn: ${messageOf(lock.signal.reason)}\n`,
    );
  }
}

async function acquire({ session, interrupted }: CommandContext, name: string, timeoutMs: number): Promise<Lock> {
  try {
    return await session.pod.locks.acquire(name, { timeoutMs, signal: interrupted });
  } catch (error) {
    if (error instanceof Interrupted || !(error instanceof HedgeError)) throw error;
    if (error.code === 'DEADLINE_EXCEEDED')
      throw new CommandFailed('notFree', error.message.replace('raise timeoutMs', 'raise --wait'));
    throw error;
  }
}

async function runHolding(
  { session, terminal, interrupted }: CommandContext,
  lock: Lock,
  { words, foreground }: Child,
): Promise<EndedCommand> {
  const [command = '', ...args] = words;
  const { group, timing } = session.settings;
  try {
    // The signal of an interruption is passed on only to a command that runs.
    interrupted.throwIfAborted();
    return await runUnderLock({
      command,
      args,
      environment: { HEDGE_GROUP: group, HEDGE_LOCK: lock.name, HEDGE_FENCING_TOKEN: String(lock.fencingToken) },
      lock,
      timing,
      foreground,
      warn: (line) => terminal.err(`nestjs-hedge: ${line}\n`),
    });
  } finally {
    await lock.release();
  }
}
