import { constants } from 'node:os';
import type { Command } from 'commander';
import { onAbort } from '../common/async/on-abort.js';
import { exitCode } from './exit-codes.js';
import type { Output } from './output.js';
import type { Session } from './session.js';

/** The streams and the signals of the process, replaced in tests. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
}

/** What a command works with. */
export interface CommandContext {
  readonly session: Session;
  readonly output: Output;
  /** Aborts on SIGINT, SIGTERM and SIGHUP, with an `Interrupted` as reason. */
  readonly interrupted: AbortSignal;
  readonly terminal: Terminal;
}

/** A signal ended the command. */
export class Interrupted extends Error {
  constructor(readonly signal: NodeJS.Signals) {
    super(`The command was ended by ${signal}.`);
  }

  get exitCode(): number {
    return exitCode('signal') + constants.signals[this.signal];
  }
}

/** Ends a wait when the command is interrupted. @throws Interrupted */
export function unlessInterrupted<Result>(work: Promise<Result>, interrupted: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const end = (): void => reject(interrupted.reason as Interrupted);
    if (interrupted.aborted) end();
    void work.then(resolve, reject).finally(onAbort(interrupted, end));
  });
}

/** The work of a command that needs the group. @returns its exit code; nothing for 0 */
export type GroupWork = (context: CommandContext) => Promise<number | void>;

export interface RunOptions {
  /** The work ends when it is interrupted, in its own way. Default: false, and a signal ends the wait for it. */
  readonly handlesSignals?: boolean;
  /** Called when the database cannot be opened. @returns the exit code. Default: the command fails. */
  readonly ifClosed?: (error: unknown, output: Output) => number;
}

/** Lets a command file add its commands. */
export interface CommandAdder {
  /** @param syntax as `lock <name> <command...>`; @param example one line, without `nestjs-hedge` */
  add(parent: Command, syntax: string, description: string, example: string): Command;
  /** Runs the work with a client of the group, and closes the client. */
  run(command: Command, work: GroupWork, options?: RunOptions): Promise<void>;
  readonly terminal: Terminal;
}
