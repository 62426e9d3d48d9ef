import { StringDecoder } from 'node:string_decoder';
import { HedgeError, isHedgeErrorCode, messageOf } from '../common/errors.js';
import type { Failure } from '../wire/hedge/v1/link.js';

/**
 * Limits of an encoded error, in bytes of UTF-8. Their sum is below the smallest `limits.maxMessageBytes`. So an error
 * always arrives, whatever a handler put into it, at least with the beginning of its message.
 */
const MAX_MESSAGE_BYTES = 8 * 1024;
const MAX_DETAILS_BYTES = 32 * 1024;
/** Limit of one text in details that are too large. */
const MAX_DETAIL_BYTES = 1_024;

/**
 * Encodes an error: code, message, details, retryable. Long texts are cut. Any other value than a HedgeError becomes
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
 * Decodes an error at the caller. An unknown code, from a newer peer, becomes HANDLER_FAILED with `details.code`, not
 * retryable.
 */
export function errorOf({ code, message, retryable, details: text }: Failure): HedgeError {
  const details = detailsFrom(text);
  if (isHedgeErrorCode(code)) return new HedgeError(code, message, { details, retryable });
  return new HedgeError('HANDLER_FAILED', message, { details: { ...details, code }, retryable: false });
}

/** The details as JSON. A BigInt becomes text; a property without a JSON form, such as a cycle, is omitted. */
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

/** Shrinks a parsed JSON value to `room`: cuts texts, and omits the items at the end. */
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
  // Plus punctuation.
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
