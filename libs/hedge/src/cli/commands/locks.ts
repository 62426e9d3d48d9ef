import type { Command } from 'commander';
import type { ListedLock } from '../../locks/lock.service.js';
import { timeOfToken } from '../../inspection/pod-state.js';
import { semaphoreKey } from '../../database/row-names.js';
import type { SemaphoreHolder } from '../../semaphores/client/semaphore.js';
import { HedgeError } from '../../common/errors.js';
import { duration, table } from '../output.js';
import { CommandFailed, UsageError } from '../exit-codes.js';
import type { CommandAdder, CommandContext } from '../command.js';

/** Locks and semaphores: who holds what, and since when. */
export function addHolderCommands(program: Command, { add, run }: CommandAdder): void {
  const locks = program.command('locks').description('Looks at the locks of the group.');
  add(
    locks,
    'ls [prefix]',
    'Lists the locks that have a holder, and how many callers wait for each.',
    'ls invoices/',
  ).action((prefix: string | undefined, _options: unknown, command: Command) =>
    run(command, (context) => listLocks(context, prefix ?? '')),
  );

  const semaphore = program.command('semaphore').description('Looks at the semaphores of the group, and resizes them.');
  add(semaphore, 'ls', 'Lists the semaphores with their limits, holders and waiting callers.', 'ls').action(
    (_options: unknown, command: Command) => run(command, listSemaphores),
  );
  add(
    semaphore,
    'resize <name> <limit>',
    'Changes the limit of a semaphore. Change it in the code of the pods too: they get CONFLICT until then.',
    'resize reports 4',
  ).action((name: string, limit: string, _options: unknown, command: Command) => {
    if (!/^\d{1,15}$/.test(limit)) {
      throw new UsageError(`The limit of semaphore "${name}" is "${limit}". Give a whole number above 0.`);
    }
    return run(command, (context) => resize(context, name, Number(limit)));
  });
}

async function listLocks({ session, output }: CommandContext, prefix: string): Promise<void> {
  const { locks } = session.pod;
  const found: ListedLock[] = [];
  for (
    let page = await locks.list({ prefix });
    page.length > 0;
    page = await locks.list({ prefix, after: page.at(-1)?.name })
  ) {
    found.push(...page);
  }
  const waiting = await waitingCallers(session);
  const shown = found.map((lock) => ({
    name: lock.name,
    member: lock.member,
    token: lock.fencingToken,
    since: timeOfToken(lock.fencingToken),
    renewedMsAgo: lock.renewedMsAgo,
    expired: lock.expired,
    // Callers of clients are not known.
    waiting: waiting?.get(lock.name) ?? (waiting === undefined ? null : 0),
  }));
  output.print(shown, () =>
    table(
      ['LOCK', 'HOLDER', 'SINCE', 'RENEWED', 'WAITING', 'TOKEN'],
      shown.map(({ name, member, token, since, renewedMsAgo, expired, waiting }) => [
        name,
        expired ? `${member.address} (expired)` : member.address,
        since,
        `${duration(renewedMsAgo)} ago`,
        waiting === null ? '?' : String(waiting),
        String(token),
      ]),
    ),
  );
}

/** The waiting callers of all members by lock; undefined when the group cannot be asked, as the rows still can be read. */
async function waitingCallers(session: CommandContext['session']): Promise<Map<string, number> | undefined> {
  try {
    const { answers } = await session.members();
    const waiting = new Map<string, number>();
    for (const { state } of answers) {
      for (const lock of state?.locks ?? []) waiting.set(lock.name, (waiting.get(lock.name) ?? 0) + lock.waiting);
    }
    return waiting;
  } catch (error) {
    if (error instanceof HedgeError || error instanceof CommandFailed) return undefined;
    throw error;
  }
}

interface ShownSemaphore {
  readonly name: string;
  readonly limit: number;
  readonly held: number;
  /** Null when the leader does not answer. */
  readonly waiting: number | null;
  readonly holders: readonly SemaphoreHolder[];
}

async function listSemaphores({ session, output }: CommandContext): Promise<void> {
  const { pod, backend, settings } = session;
  const rows = semaphoreKey('');
  const keys = await backend.log.keys({ prefix: rows, limit: 10_000 });
  const leader = await session.leader().then(
    ({ member }) => session.stateOf(member).catch(() => undefined),
    () => undefined,
  );
  const waiting = new Map(leader?.semaphores.map((one) => [one.name, one.waiting]));
  const shown: ShownSemaphore[] = [];
  for (const key of keys) {
    const name = key.slice(rows.length);
    const row = await backend.permits.read(name);
    if (row === undefined) continue;
    try {
      const holders = await pod.semaphores.get(name, { limit: row.limit }).holders();
      const held = holders.reduce((sum, { permits }) => sum + permits, 0);
      shown.push({
        name,
        limit: row.limit,
        held,
        waiting: leader === undefined ? null : (waiting.get(name) ?? 0),
        holders,
      });
    } catch (error) {
      // Groups share the tables, and this semaphore belongs to another one.
      if (!(error instanceof HedgeError) || error.code !== 'CONFLICT') throw error;
    }
  }
  output.print({ group: settings.group, semaphores: shown }, () =>
    table(
      ['SEMAPHORE', 'LIMIT', 'HELD', 'WAITING', 'HOLDERS'],
      shown.map(({ name, limit, held, waiting, holders }) => [
        name,
        String(limit),
        String(held),
        waiting === null ? '?' : String(waiting),
        holders.map(({ member, permits }) => `${member.address} (${permits})`).join(', '),
      ]),
    ),
  );
}

async function resize({ session, output }: CommandContext, name: string, limit: number): Promise<void> {
  await session.leader();
  await session.pod.semaphores.get(name, { limit }).resize(limit);
  output.print({ name, limit }, () => [`semaphore ${name} has the limit ${limit}`]);
}
