import { Injectable, Module } from '@nestjs/common';
import { HedgeModule } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';
import { MailSender, MailWorker } from './mail-worker.js';

@Injectable()
class HttpMailSender extends MailSender {
  override async send(mail: { id: string; to: string }, signal: AbortSignal): Promise<void> {
    const headers = { 'content-type': 'application/json', 'idempotency-key': mail.id };
    const init = { method: 'POST', body: JSON.stringify({ to: mail.to }), headers, signal };
    const response = await fetch('http://mail.internal/send', init);
    if (!response.ok) throw new Error(`The mail server refused mail ${mail.id} with status ${response.status}.`);
  }
}

@Module({
  imports: [HedgeModule.forRoot({ group: 'mails', backend: sqlite({ file: '/data/hedge.db' }) })],
  providers: [{ provide: MailSender, useClass: HttpMailSender }, MailWorker],
})
export class AppModule {}
