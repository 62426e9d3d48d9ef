import { Command, CommanderError } from 'commander';
import { HedgeError, messageOf } from '../common/errors.js';
import { oneLine, SILENT, type LineSink } from '../common/line-logger.js';
import { VERSION } from '../common/version.js';
import { addConnectionOptions, clientSettings, type ConnectionOptions } from './connection.js';
import {
  Interrupted,
  unlessInterrupted,
  type CommandAdder,
  type GroupWork,
  type RunOptions,
  type Terminal,
} from './command.js';
import { EXIT_CODES, exitCode, outcomeOf, UsageError } from './exit-codes.js';
import { Output } from './output.js';
import { addCompletionCommand } from './commands/completion.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addGroupCommands } from './commands/group.js';
import { addJobCommands } from './commands/jobs.js';
import { addKvCommands } from './commands/kv.js';
import { addLockCommands } from './commands/lock.js';
import { addHolderCommands } from './commands/locks.js';
import { addMessageCommands } from './commands/messages.js';
import { addSchemaCommand } from './schema.js';
import { Session } from './session.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Runs one command line. Never rejects. @returns the exit code */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<number> {
  let code = exitCode('done');
  const adder: CommandAdder = {
    add: addCommand,
    terminal,
    run: async (command, work, options = {}) => {
      code = await withSession(command, work, options, terminal);
    },
  };
  const program = makeProgram(adder, terminal);
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    // Commander has written the message, the help or the version.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode('done') : exitCode('usage');
    report(error, program.opts<ConnectionOptions>(), terminal);
    return exitCode(outcomeOf(error));
  }
}

export function makeProgram(adder: CommandAdder, terminal: Terminal): Command {
  const program = new Command('nestjs-hedge')
    .description('Looks at a group of pods, and uses it, as a client: it is never elected and is in no view.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({ writeOut: terminal.out, writeErr: terminal.err })
    .showHelpAfterError('Run it with --help to see the options and an example.')
    .addHelpText('after', () => `\n${exitCodesText()}`);
  addConnectionOptions(program);
  addGroupCommands(program, adder);
  addLockCommands(program, adder);
  addHolderCommands(program, adder);
  addKvCommands(program, adder);
  addJobCommands(program, adder);
  addMessageCommands(program, adder);
  addDoctorCommand(program, adder);
  addSchemaCommand(program, adder);
  addCompletionCommand(program, adder);
  return program;
}

function addCommand(parent: Command, syntax: string, description: string, example: string): Command {
  const path = [...ancestors(parent)].reverse().join(' ');
  return parent
    .command(syntax)
    .description(description)
    .addHelpText('after', `\nExample:\n  $ ${path} ${example}\n\nOptions of all commands: nestjs-hedge --help`);
}

function* ancestors(command: Command): Generator<string> {
  for (let one: Command | null = command; one !== null; one = one.parent) yield one.name();
}

function exitCodesText(): string {
  const lines = Object.values(EXIT_CODES).map(([code, meaning]) => `  ${String(code).padEnd(4)} ${meaning}`);
  return `Exit codes:\n${lines.join('\n')}`;
}

async function withSession(
  command: Command,
  work: GroupWork,
  { handlesSignals = false, ifClosed }: RunOptions,
  terminal: Terminal,
): Promise<number> {
  const options = command.optsWithGlobals<ConnectionOptions>();
  const root = rootOf(command);
  const settings = await clientSettings(options, (option) => root.getOptionValueSource(option));
  const interruption = new AbortController();
  // Once: a second signal ends the process at once, unless the command handles it.
  const interrupt = (signal: NodeJS.Signals): void => interruption.abort(new Interrupted(signal));
  for (const signal of SIGNALS) process.once(signal, interrupt);
  const interrupted = interruption.signal;
  const output = new Output(options.output, terminal.out);
  try {
    const opening = Session.open(settings, loggerOf(options, terminal));
    const session = await (ifClosed === undefined
      ? opening
      : opening.catch((error: unknown) => ifClosed(error, output)));
    if (typeof session === 'number') return session;
    try {
      const result = work({ session, output, interrupted, terminal });
      return (await (handlesSignals ? result : unlessInterrupted(result, interrupted))) ?? exitCode('done');
    } finally {
      await session.close();
    }
  } catch (error) {
    if (error instanceof Interrupted) return error.exitCode;
    throw error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupt);
  }
}

function rootOf(command: Command): Command {
  let root = command;
  while (root.parent !== null) root = root.parent;
  return root;
}

/** Errors and warnings of the client are worth a line; the rest only on request. */
function loggerOf({ verbose = false }: ConnectionOptions, { err }: Terminal): LineSink {
  const line = (text: string): void => err(`nestjs-hedge: ${text}\n`);
  const warned = { warn: line, error: line };
  return verbose ? { log: line, debug: line, ...warned } : { ...SILENT, ...warned };
}

function report(error: unknown, { output }: ConnectionOptions, terminal: Terminal): void {
  const message = messageOf(error).replace('raise timeoutMs', 'raise --timeout');
  const code = error instanceof HedgeError ? error.code : error instanceof UsageError ? 'USAGE' : 'FAILED';
  if (output === 'json') terminal.err(`${JSON.stringify({ error: { code, message } })}\n`);
  else terminal.err(`${message.split('\n').map(oneLine).join('\n')}\n`);
}
