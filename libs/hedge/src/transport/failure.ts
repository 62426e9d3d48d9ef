import { StringDecoder } from 'node:string_decoder';
import { HedgeError, isHedgeErrorCode, messageOf } from '../common/errors.js';
import type { Failure } from '../wire/hedge/v1/link.js';

/**
 * Of an error as it travels, in bytes of UTF-8: together less than the smallest `limits.maxMessageBytes`. So an error
 * always arrives, whatever a handler puts in it, and what it says first arrives with it.
 */
const MAX_MESSAGE_BYTES = 8 * 1024;
const MAX_DETAILS_BYTES = 32 * 1024;
/** Of one text in details that are too large. */
const MAX_DETAIL_BYTES = 1_024;

/**
 * An error as it travels: code, message, details, retryable, the longer ones cut. Anything but a HedgeError is
 * HANDLER_FAILED.
 */
export function failureOf(error: unknown): Failure {
  if (error instanceof HedgeError) {
    const { code, message, retryable } = error;
    const details = detailsText(error.details);
    return { code, message: cut(message, MAX_MESSAGE_BYTES), details, retryable, leader: undefined };
  }
  const message = cut(messageOf(error), MAX_MESSAGE_BYTES);
  return { code: 'HANDLER_FAILED', message, details: '', retryable: false, leader: undefined };
}

/**
 * The error at the caller. A code that this version does not know, from a newer peer, becomes HANDLER_FAILED
 * with `details.code`, and not retryable.
 */
export function errorOf({ code, message, retryable, details: text }: Failure): HedgeError {
  const details = detailsFrom(text);
  if (isHedgeErrorCode(code)) return new HedgeError(code, message, { details, retryable });
  return new HedgeError('HANDLER_FAILED', message, { details: { ...details, code }, retryable: false });
}

/** All that JSON can say of what users put there: a BigInt as its digits, and without properties that form cycles. */
function detailsText(details: object): string {
  const fields = Object.entries(details).flatMap(([key, value]) => {
    const text = jsonOf(value);
    return text === undefined ? [] : [`${JSON.stringify(key)}:${text}`];
  });
  if (fields.length === 0) return '';
  const text = `{${fields.join(',')}}`;
  if (Buffer.byteLength(text) <= MAX_DETAILS_BYTES) return text;
  return JSON.stringify(shrunk(JSON.parse(text), { bytes: MAX_DETAILS_BYTES - 2 * MAX_DETAIL_BYTES }));
}

function jsonOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item));
  } catch {
    return undefined;
  }
}

/** The beginning of a value that JSON gave, as far as there is room for it: texts are cut, and items left out. */
function shrunk(value: unknown, room: { bytes: number }): unknown {
  if (Array.isArray(value)) {
    const items: unknown[] = [];
    for (const item of value) {
      if (room.bytes <= 0) break;
      items.push(shrunk(item, room));
    }
    return items;
  }
  if (typeof value === 'object' && value !== null) {
    const entries: [string, unknown][] = [];
    for (const [key, item] of Object.entries(value)) {
      room.bytes -= Buffer.byteLength(key);
      if (room.bytes <= 0) break;
      entries.push([key, shrunk(item, room)]);
    }
    return Object.fromEntries(entries);
  }
  const kept = typeof value === 'string' ? cut(value, MAX_DETAIL_BYTES) : value;
  // With what stands around it.
  room.bytes -= Buffer.byteLength(JSON.stringify(kept)) + 4;
  return kept;
}

function cut(text: string, maxBytes: number): string {
  const bytes = Buffer.byteLength(text);
  if (bytes <= maxBytes) return text;
  const note = `… (${bytes} bytes)`;
  const kept = Buffer.from(text.slice(0, maxBytes)).subarray(0, maxBytes - Buffer.byteLength(note));
  // Writes whole characters only.
  return new StringDecoder('utf8').write(kept) + note;
}

function detailsFrom(text: string): Record<string, unknown> {
  if (text === '') return {};
  try {
    const details: unknown = JSON.parse(text);
    return typeof details === 'object' && details !== null ? { ...details } : {};
  } catch {
    return {};
  }
}
