import { randomBytes } from 'node:crypto';
import type { LogTable } from '../database/log-table.js';
import { secretKey } from '../database/row-names.js';
import { backoffMs } from '../common/backoff.js';
import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { GroupSecrets } from '../transport/handshake/group-identity.js';

const SECRET_ID = 'secret';

/** Stands in the option `secret` for the one that is kept in the backend. Too short to be a secret of the user's. */
export const STORED_SECRET = 'stored';

/**
 * What the option `secret` says, in its order: the first is what a pod proves itself by, each is accepted of others.
 *
 * @param stored reads the one in the backend, and is called only when the option names it.
 * @throws what `stored` throws: a pod that cannot read it would refuse those that have no other.
 */
export async function groupSecrets(option: readonly string[], stored: () => Promise<Buffer>): Promise<GroupSecrets> {
  const secrets: Buffer[] = [];
  for (const one of option) secrets.push(one === STORED_SECRET ? await stored() : Buffer.from(one));
  const [first, ...others] = secrets;
  return first === undefined ? await stored() : [first, ...others];
}

/**
 * The secret by which the pods of a group know each other: 32 random bytes that the first pod writes to a
 * reserved row, so that who can read the group's database belongs, with nothing to configure. Pods that
 * start at once may all write: the row id is the same, so one of them wins and all read its value.
 *
 * @throws HedgeError BACKEND_UNAVAILABLE: call again.
 */
export async function groupSecret(log: LogTable, group: string, writer: string): Promise<Buffer> {
  const key = secretKey(group);
  const kept = await log.latest(key);
  if (kept !== undefined) return Buffer.from(kept.value, 'base64');
  const value = randomBytes(32).toString('base64');
  const [outcome] = await log.append([{ key, id: SECRET_ID, value, leader: writer }]);
  if (!(outcome instanceof HedgeError)) return Buffer.from(value, 'base64');
  if (outcome.code === 'CONFLICT') return groupSecret(log, group, writer);
  throw outcome;
}

export interface KeptSecretOptions {
  readonly log: LogTable;
  readonly group: string;
  readonly clock: Clock;
  /** Pause before the next try, in milliseconds; grows with jitter up to four times this. */
  readonly retryMs: number;
  readonly logger: { warn(message: string): void };
}

/** The group's secret as one pod knows it, which is read once, and put back when the database was replaced. */
export class KeptSecret {
  #known: Promise<Buffer> | undefined;
  #closed = false;

  constructor(private readonly options: KeptSecretOptions) {}

  /**
   * @param writer address of this pod.
   * @throws HedgeError BACKEND_UNAVAILABLE: call again.
   */
  get(writer: string): Promise<Buffer> {
    const { log, group } = this.options;
    this.#known ??= groupSecret(log, group, writer).catch((error: unknown) => {
      this.#known = undefined;
      throw error;
    });
    return this.#known;
  }

  /**
   * The database is another one. Without the secret in it a new pod would make another, and could not join those that
   * run. So each of these writes the one that it knows; when another is there already, it takes that. Never rejects.
   */
  async restore(writer: string): Promise<void> {
    const { clock, retryMs } = this.options;
    for (let attempt = 1; !this.#closed; attempt += 1) {
      try {
        return await this.#restoreOnce(writer);
      } catch {
        // The election has the same trouble, and tells it.
        const pauseMs = backoffMs(attempt, retryMs, 4 * retryMs, Math.random());
        await new Promise<void>((resolve) => void clock.after(pauseMs, resolve));
      }
    }
  }

  /** Idempotent. */
  close(): void {
    this.#closed = true;
  }

  async #restoreOnce(writer: string): Promise<void> {
    const { log, group, logger } = this.options;
    const kept = await this.get(writer);
    const what = `The database of group ${group} was replaced, or restored from an earlier copy, while pods ran`;
    const row = { key: secretKey(group), id: SECRET_ID, value: kept.toString('base64'), leader: writer };
    const [outcome] = await log.append([row]);
    if (!(outcome instanceof HedgeError)) {
      return logger.warn(
        `${what}. This pod wrote the group's secret back. Values that were put since the copy are lost.`,
      );
    }
    if (outcome.code !== 'CONFLICT') throw outcome;
    this.#known = undefined;
    await this.get(writer);
    logger.warn(`${what}. This pod took over the secret that it holds. Values that were put since the copy are lost.`);
  }
}
