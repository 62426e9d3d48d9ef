import { BadRequestException, StreamableFile } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { HedgeError } from 'nestjs-hedge';

const MAX_LINE_LENGTH = 64 * 1024;

/** The lines of a request's body, as they come. @throws BadRequestException when there is none, or one has no end. */
export async function* linesOf(request: IncomingMessage): AsyncGenerator<string, void> {
  const text = new TextDecoder();
  let rest = '';
  let count = 0;
  // The connection stays, also when the lines are not wanted any more: it still carries the answer.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    const lines = (rest + text.decode(chunk as Buffer, { stream: true })).split('\n');
    rest = lines.pop()!;
    if (rest.length > MAX_LINE_LENGTH) throw new BadRequestException(`a line has more than ${MAX_LINE_LENGTH} letters`);
    count += lines.length;
    yield* lines;
  }
  if (rest !== '') yield rest;
  else if (count === 0) throw new BadRequestException('send lines: seq 5 | curl -T . localhost:9090/…');
}

/**
 * Answers with lines as they come. What goes wrong before the first is the error of the request; later, when the
 * status is sent, it is the last line.
 */
export async function answerWith(lines: AsyncIterableIterator<string>): Promise<StreamableFile> {
  const first = await lines.next();
  async function* all(): AsyncGenerator<string, void> {
    try {
      if (first.done !== true) yield `${first.value}\n`;
      for await (const line of lines) yield `${line}\n`;
    } catch (error) {
      yield `${JSON.stringify(error instanceof HedgeError ? error : { message: String(error) })}\n`;
    } finally {
      await lines.return?.();
    }
  }
  return new StreamableFile(Readable.from(all()), { type: 'text/plain; charset=utf-8' });
}

/** Aborts when the client has left, or has its answer. */
export function closing(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once('close', () => controller.abort());
  return controller.signal;
}
