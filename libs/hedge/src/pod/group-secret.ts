import { randomBytes } from 'node:crypto';
import type { LogTable } from '../database/log-table.js';
import { secretKey } from '../database/row-names.js';
import { backoffMs } from '../common/backoff.js';
import type { Clock } from '../common/clock.js';
import { HedgeError } from '../common/errors.js';
import type { GroupSecrets } from '../transport/handshake/group-identity.js';

const SECRET_ID = 'secret';
const SECRET_BYTES = 32;

/** In the option `secret`, this value stands for the secret in the database. It is too short for a user's secret. */
export const STORED_SECRET = 'stored';

/**
 * The secrets of the option `secret`, in its order. A pod authenticates with the first one, and accepts any of them from
 * other pods.
 *
 * @param stored reads the secret in the database. It is called only if the option names the stored secret.
 * @throws the error of `stored`. Without that secret, this pod would refuse pods that have no other one.
 */
export async function groupSecrets(option: readonly string[], stored: () => Promise<Buffer>): Promise<GroupSecrets> {
  const secrets: Buffer[] = [];
  for (const one of option) secrets.push(one === STORED_SECRET ? await stored() : Buffer.from(one));
  const [first, ...others] = secrets;
  return first === undefined ? await stored() : [first, ...others];
}

/**
 * The secret with which the pods of a group authenticate each other: 32 random bytes that the first pod writes to a
 * reserved row. So every process that can read the group's database can join without configuration. Pods that start at
 * the same time may all write. They use the same row id, so one write succeeds and all pods read its value.
 *
 * @throws HedgeError BACKEND_UNAVAILABLE: call again.
 */
export async function groupSecret(log: LogTable, group: string, writer: string): Promise<Buffer> {
  const kept = await readSecret(log, group);
  if (kept !== undefined) return kept;
  const key = secretKey(group);
  const value = randomBytes(SECRET_BYTES).toString('base64');
  const [outcome] = await log.append([{ key, id: SECRET_ID, value, leader: writer }]);
  if (!(outcome instanceof HedgeError)) return Buffer.from(value, 'base64');
  if (outcome.code === 'CONFLICT') return groupSecret(log, group, writer);
  throw outcome;
}

async function readSecret(log: LogTable, group: string): Promise<Buffer | undefined> {
  const kept = await log.latest(secretKey(group));
  return kept && Buffer.from(kept.value, 'base64');
}

export interface KeptSecretOptions {
  readonly log: LogTable;
  readonly group: string;
  /** Whether this pod writes a secret that is missing. A client only reads it. */
  readonly writes: boolean;
  readonly clock: Clock;
  /** The pause before the next attempt, in milliseconds. It grows with jitter up to four times this value. */
  readonly retryMs: number;
  readonly logger: { warn(message: string): void };
}

/** The group secret that one pod keeps. It reads the secret once, and writes it back if the database was replaced. */
export class KeptSecret {
  #known: Promise<Buffer | undefined> | undefined;
  #closed = false;

  constructor(private readonly options: KeptSecretOptions) {}

  /**
   * A client that finds no secret gets one that it does not keep: the pods refuse it. They have the option `secret`, or
   * write the secret when they read the handshake, and the client finds it for the next one.
   *
   * @param writer the address of this pod.
   * @throws HedgeError BACKEND_UNAVAILABLE: call again.
   */
  async get(writer: string): Promise<Buffer> {
    const { log, group, writes } = this.options;
    this.#known ??= (writes ? groupSecret(log, group, writer) : readSecret(log, group)).catch((error: unknown) => {
      this.#known = undefined;
      throw error;
    });
    const known = await this.#known;
    if (known !== undefined) return known;
    this.#known = undefined;
    return randomBytes(SECRET_BYTES);
  }

  /** Has the secret written early, for clients. Never throws: the next handshake tries again. */
  prepare(writer: string): void {
    this.get(writer).catch(() => undefined);
  }

  /**
   * Call this when the database was replaced. If the new database has no secret, a new pod would create another one and
   * could not join the running pods. So each running pod writes the secret that it knows, or adopts the secret in the
   * database. A client reads it again. Never rejects.
   */
  async restore(writer: string): Promise<void> {
    const { clock, retryMs, writes } = this.options;
    if (!writes) {
      this.#known = undefined;
      return;
    }
    for (let attempt = 1; !this.#closed; attempt += 1) {
      try {
        return await this.#restoreOnce(writer);
      } catch {
        // The election has the same problem, and logs it.
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
    const event = `The database of group ${group} was replaced, or restored from an earlier copy, while pods ran`;
    const row = { key: secretKey(group), id: SECRET_ID, value: kept.toString('base64'), leader: writer };
    const [outcome] = await log.append([row]);
    if (!(outcome instanceof HedgeError)) {
      return logger.warn(
        `${event}. This pod wrote the group's secret back. Values that were put since the copy are lost.`,
      );
    }
    if (outcome.code !== 'CONFLICT') throw outcome;
    this.#known = undefined;
    await this.get(writer);
    logger.warn(
      `${event}. This pod adopted the secret of that database. Values that were put since the copy are lost.`,
    );
  }
}
