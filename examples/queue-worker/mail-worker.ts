import { Injectable, Logger } from '@nestjs/common';
import { type Leadership, WhileLeader } from 'nestjs-hedge';
import { createClient } from 'redis';

const STREAM = 'mails';
const GROUP = 'workers';
/** One name for all pods: the next leader continues with the entries that the previous one did not acknowledge. */
const CONSUMER = 'leader';

interface Mail {
  readonly id: string;
  readonly to: string;
}

/** Sends one mail. The mail server gets the id, so that it can refuse to send a mail twice. */
export abstract class MailSender {
  abstract send(mail: Mail, signal: AbortSignal): Promise<void>;
}

/** Consumes a Redis stream on one pod at a time, in order. */
@Injectable()
export class MailWorker {
  readonly #logger = new Logger(MailWorker.name);

  constructor(private readonly sender: MailSender) {}

  /** Runs when this pod becomes the leader. If it throws, the error is logged, and it runs again after a pause. */
  @WhileLeader()
  async work({ signal }: Leadership): Promise<void> {
    const redis = createClient({ url: process.env['REDIS_URL'] ?? 'redis://localhost:6379' });
    redis.on('error', (error: Error) => this.#logger.warn(`Redis: ${error.message}`));
    await redis.connect();
    try {
      await redis.xGroupCreate(STREAM, GROUP, '0', { MKSTREAM: true }).catch(ignoreExisting);
      let from = '0'; // first the entries without acknowledgement, then '>', the new ones
      while (!signal.aborted) {
        // Waits a second at most, so that the loop notices the signal soon.
        const read = await redis.xReadGroup(GROUP, CONSUMER, { key: STREAM, id: from }, { COUNT: 10, BLOCK: 1_000 });
        const messages = entriesOf(read);
        if (from !== '>' && messages.length === 0) from = '>';
        for (const { id, message } of messages) {
          if (signal.aborted) return; // the next leader reads it again
          await this.sender.send({ id, to: message['to'] ?? '' }, signal);
          await redis.xAck(STREAM, GROUP, id);
        }
      }
    } finally {
      redis.destroy();
    }
  }
}

interface Entry {
  readonly id: string;
  readonly message: Readonly<Record<string, string>>;
}

function entriesOf(read: unknown): readonly Entry[] {
  return (read as readonly { readonly messages: readonly Entry[] }[] | null)?.[0]?.messages ?? [];
}

function ignoreExisting(error: Error): void {
  if (!error.message.startsWith('BUSYGROUP')) throw error;
}
