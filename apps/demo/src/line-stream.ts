import { BadRequestException, StreamableFile } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { HedgeError } from 'nestjs-hedge';

const MAX_LINE_LENGTH = 64 * 1024;

/** The lines of a request body, as they arrive. @throws BadRequestException when there is none, or a line is too long. */
export async function* linesOf(request: IncomingMessage): AsyncGenerator<string, void> {
  const text = new TextDecoder();
  let rest = '';
  let count = 0;
  // Keeps the connection open when the reader stops early: the response still uses it.
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
 * Returns lines as a response, as they arrive. An error before the first line fails the request. A later error, after the
 * status was sent, becomes the last line.
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

/** A signal that aborts when the client has disconnected, or has received the response. */
export function closing(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once('close', () => controller.abort());
  return controller.signal;
}
