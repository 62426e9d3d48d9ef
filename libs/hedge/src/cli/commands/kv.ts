import type { Command } from 'commander';
import { HedgeError } from '../../common/errors.js';
import type { KvEntry } from '../../kv/kv-entry.js';
import { limitOption, parseDuration } from '../connection.js';
import { CommandFailed } from '../exit-codes.js';
import { table } from '../output.js';
import type { CommandAdder, CommandContext } from '../command.js';

interface PutOptions {
  readonly overwrite?: boolean;
  readonly ttl?: number;
}

interface HistoryOptions {
  readonly limit: number;
  readonly oldestFirst?: boolean;
}

export function addKvCommands(program: Command, { add, run }: CommandAdder): void {
  const kv = program.command('kv').description('Reads and writes the key/value log of the group.');

  add(kv, 'get <key>', 'Prints the newest value of a key.', 'get orders/17').action(
    (key: string, _options: unknown, command: Command) => run(command, (context) => get(context, key)),
  );

  add(
    kv,
    'put <key> [value]',
    'Adds a value. Without one, or with -, it reads the standard input.',
    'put orders/17 paid',
  )
    .option('--overwrite', 'replaces the value that was put this way, and adds no version')
    .option('--ttl <duration>', 'deletes the key after this time, unless it is put again', parseDuration)
    .action((key: string, value: string | undefined, options: PutOptions, command: Command) =>
      run(command, (context) => put(context, key, value, options)),
    );

  add(kv, 'history <key>', 'Lists the versions of a key, the newest first.', 'history orders/17 --limit 10')
    .addOption(limitOption('versions', 100))
    .option('--oldest-first', 'lists the oldest first')
    .action((key: string, options: HistoryOptions, command: Command) =>
      run(command, (context) => history(context, key, options)),
    );

  add(kv, 'delete <key>', 'Deletes a key. Its history stays.', 'delete orders/17').action(
    (key: string, _options: unknown, command: Command) => run(command, (context) => remove(context, key)),
  );

  add(
    kv,
    'watch [prefix]',
    'Shows each new version of the keys with a prefix, until it is interrupted.',
    'watch orders/',
  ).action((prefix: string | undefined, _options: unknown, command: Command) =>
    run(command, (context) => watch(context, prefix ?? ''), { handlesSignals: true }),
  );

  add(kv, 'keys [prefix]', 'Lists the keys with a prefix.', 'keys orders/')
    .addOption(limitOption('keys', 1_000))
    .action((prefix: string | undefined, { limit }: { limit: number }, command: Command) =>
      run(command, (context) => keys(context, prefix ?? '', limit)),
    );

  add(
    kv,
    'compact',
    'Makes the leader delete the old versions of kv.retention now, and prints their number. A leader deletes nothing in the first ten minutes of its term.',
    'compact --timeout 10m',
  ).action((_options: unknown, command: Command) => run(command, compact));
}

async function get({ session, output }: CommandContext, key: string): Promise<void> {
  const entry = await session.pod.kv.get(key);
  if (entry === undefined)
    throw new CommandFailed('notFound', `Key "${key}" has no value. List the keys with kv keys.`);
  output.printValue(entry, entry.value);
}

async function put(
  { session, output }: CommandContext,
  key: string,
  given: string | undefined,
  { overwrite = false, ttl }: PutOptions,
): Promise<void> {
  const value = given === undefined || given === '-' ? await standardInput() : given;
  const entry = await session.pod.kv.put(key, value, { append: !overwrite, ttlMs: ttl });
  output.print(entry, () => [`version ${entry.version} at ${entry.timestamp.toISOString()}`]);
}

async function remove({ session, output }: CommandContext, key: string): Promise<void> {
  const entry = await session.pod.kv.delete(key);
  output.print(entry, () => [`deleted at ${entry.timestamp.toISOString()}, version ${entry.version}`]);
}

async function watch({ session, output, interrupted }: CommandContext, prefix: string): Promise<void> {
  try {
    for await (const entry of session.pod.kv.watch(prefix, { signal: interrupted })) {
      output.print(entry, () => [`${entry.timestamp.toISOString()}  ${entry.key}  ${shown(entry)}`]);
    }
  } catch (error) {
    if (!interrupted.aborted || !(error instanceof HedgeError)) throw error;
  }
}

function shown({ value, deleted, expired }: KvEntry): string {
  return expired === true ? '(expired)' : deleted === true ? '(deleted)' : value;
}

async function history(
  { session, output }: CommandContext,
  key: string,
  { limit, oldestFirst = false }: HistoryOptions,
): Promise<void> {
  const entries = await session.pod.kv.history(key, { limit, order: oldestFirst ? 'oldest-first' : 'newest-first' });
  output.print(entries, () =>
    table(
      ['VERSION', 'TIME', 'WRITTEN BY', 'VALUE'],
      entries.map((entry) => [String(entry.version), entry.timestamp.toISOString(), entry.leader, shown(entry)]),
    ),
  );
}

async function keys({ session, output }: CommandContext, prefix: string, limit: number): Promise<void> {
  const found = await session.pod.kv.keys(prefix, { limit });
  output.print(found, () => found);
}

async function compact({ session, output }: CommandContext): Promise<void> {
  const compacted = await session.pod.kv.compact();
  output.print(compacted, () => [`deleted ${compacted.deleted} old versions`]);
}

async function standardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
