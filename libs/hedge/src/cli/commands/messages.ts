import type { Command } from 'commander';
import { messageOf } from '../../common/errors.js';
import { exitCode, UsageError } from '../exit-codes.js';
import { table } from '../output.js';
import type { CommandAdder, CommandContext } from '../command.js';

export function addMessageCommands(program: Command, { add, run }: CommandAdder): void {
  add(
    program,
    'send <topic> [json]',
    'Sends a message to the leader, and prints the reply.',
    `send price '{"qty":2}'`,
  ).action((topic: string, json: string | undefined, _options: unknown, command: Command) => {
    const data = parsed(json);
    return run(command, (context) => send(context, topic, data));
  });

  add(
    program,
    'broadcast <topic> [json]',
    'Sends a message to all members, and prints the reply of each. Fails when one of them fails.',
    'broadcast flush',
  ).action((topic: string, json: string | undefined, _options: unknown, command: Command) => {
    const data = parsed(json);
    return run(command, (context) => broadcast(context, topic, data));
  });
}

async function send({ session, output }: CommandContext, topic: string, data: unknown): Promise<void> {
  await session.leader();
  const reply = await session.pod.leader.send(topic, data);
  // A handler may return nothing. JSON escapes what could move the cursor.
  const text = JSON.stringify(reply ?? null);
  output.printValue(reply ?? null, text);
}

async function broadcast({ session, output }: CommandContext, topic: string, data: unknown): Promise<number> {
  await session.view();
  const results = await session.pod.cluster.broadcast(topic, data);
  const shown = results.map(({ member, value, error, ms }) =>
    error === undefined ? { member, value, ms } : { member, error: { code: error.code, message: error.message }, ms },
  );
  output.print(shown, () =>
    table(
      ['MEMBER', 'MS', 'REPLY'],
      results.map(({ member, value, error, ms }) => [
        member.address,
        ms.toFixed(1),
        error === undefined ? (JSON.stringify(value) ?? '') : `${error.code}: ${error.message}`,
      ]),
    ),
  );
  return exitCode(results.some(({ error }) => error !== undefined) ? 'failed' : 'done');
}

function parsed(json: string | undefined): unknown {
  if (json === undefined) return undefined;
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new UsageError(`The message ${json} is no JSON: ${messageOf(error)}. Put a text into quotes: '"text"'.`);
  }
}
