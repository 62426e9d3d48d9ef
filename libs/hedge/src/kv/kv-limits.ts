import { assertNotReserved } from '../database/row-names.js';
import { assertLength, assertText } from '../database/text.js';
import { HedgeError } from '../common/errors.js';

/**
 * Longest key in UTF-8 bytes. Spanner allows 8 KB for all columns of a primary or index key together.
 * @see https://cloud.google.com/spanner/quotas#tables
 */
export const MAX_KEY_BYTES = 4_096;

/**
 * Longest value in UTF-8 bytes, on every database: Spanner limits a STRING to this number of characters.
 * `limits.maxMessageBytes` may allow less.
 * @see https://cloud.google.com/spanner/quotas#tables
 */
const MAX_VALUE_BYTES = 2_621_440;

/** Size of a message without the key and the value: id, fence, topic and framing. */
const MESSAGE_OVERHEAD_BYTES = 512;

/** The longest value that fits into one message with the longest key. */
export function maxValueBytes(maxMessageBytes: number): number {
  return Math.min(MAX_VALUE_BYTES, maxMessageBytes - MAX_KEY_BYTES - MESSAGE_OVERHEAD_BYTES);
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertKey(key: unknown): asserts key is string {
  if (typeof key !== 'string' || key === '') {
    throw new HedgeError('INVALID_ARGUMENT', `A key must be a string of at least one character, not ${describe(key)}.`);
  }
  assertNotReserved('key', key);
  assertText('key', key);
  assertLength('key', key, MAX_KEY_BYTES);
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertPrefix(prefix: unknown): asserts prefix is string {
  if (typeof prefix !== 'string') {
    throw new HedgeError('INVALID_ARGUMENT', `A prefix must be a string, not ${describe(prefix)}; '' means all keys.`);
  }
  assertNotReserved('prefix', prefix);
  assertText('prefix', prefix);
}

/** @throws HedgeError INVALID_ARGUMENT, PAYLOAD_TOO_LARGE */
export function assertValue(key: string, value: unknown, maxBytes: number): asserts value is string {
  if (typeof value !== 'string') {
    throw new HedgeError(
      'INVALID_ARGUMENT',
      `The value of "${key}" must be a string, not ${describe(value)}. Use putJson for other values.`,
    );
  }
  assertText('value', value);
  const bytes = Buffer.byteLength(value);
  if (bytes > maxBytes) {
    const fix =
      bytes > MAX_VALUE_BYTES
        ? `at most ${MAX_VALUE_BYTES} bytes fit into the databases, and no option raises this. Split it, or store it elsewhere.`
        : `at most ${maxBytes} fit into a message. Split it, or raise limits.maxMessageBytes on all pods.`;
    throw new HedgeError('PAYLOAD_TOO_LARGE', `The value of "${key}" has ${bytes} bytes in UTF-8; ${fix}`, {
      details: { bytes, maxBytes },
    });
  }
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertCondition(
  name: string,
  options: {
    readonly append?: boolean | undefined;
    readonly ifAbsent?: boolean | undefined;
    readonly ifVersion?: unknown;
  },
): void {
  const { append = true, ifAbsent = false } = options;
  if (typeof ifAbsent !== 'boolean') {
    throw new HedgeError('INVALID_ARGUMENT', `"ifAbsent" of ${name} must be a boolean.`);
  }
  const conditions = [...('ifVersion' in options ? ['ifVersion'] : []), ...(ifAbsent ? ['ifAbsent'] : [])];
  const [condition, other = append ? undefined : 'append: false'] = conditions;
  if (condition === undefined || other === undefined) return;
  throw new HedgeError('INVALID_ARGUMENT', `${name} has both "${condition}" and "${other}". Use one of them.`);
}

const MIN_TTL_MS = 1_000;
const MAX_TTL_MS = 365 * 86_400_000;

/** @throws HedgeError INVALID_ARGUMENT */
export function assertTtl(name: string, ttlMs: unknown): void {
  if (Number.isSafeInteger(ttlMs) && (ttlMs as number) >= MIN_TTL_MS && (ttlMs as number) <= MAX_TTL_MS) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `"ttlMs" of ${name} must be a whole number of milliseconds from ${MIN_TTL_MS} (a second) to ${MAX_TTL_MS} (365 days), not ${describe(ttlMs)}.`,
  );
}

/**
 * Longest key with a time to live, with `kv.prefix`. PostgreSQL refuses an index entry of more than 2,700 bytes: the expiry row has
 * the name of the group before the key, and the deletion adds a suffix to its id.
 */
export const MAX_EXPIRING_KEY_BYTES = 2_048;

/** @throws HedgeError INVALID_ARGUMENT */
export function assertExpiringKey(stored: string): void {
  assertLength('key of a put with "ttlMs" or "whileAlive"', stored, MAX_EXPIRING_KEY_BYTES);
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertLimit(limit: unknown): asserts limit is number {
  if (limit === Infinity || (Number.isSafeInteger(limit) && (limit as number) > 0)) return;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `"limit" must be a whole number above 0, or Infinity for all, not ${describe(limit)}.`,
  );
}

/** @throws HedgeError INVALID_ARGUMENT */
export function assertAfter(after: unknown): asserts after is string | undefined {
  if (after === undefined) return;
  if (typeof after !== 'string') {
    throw new HedgeError('INVALID_ARGUMENT', `"after" must be a key, not ${describe(after)}.`);
  }
  assertText('after', after);
}

function describe(value: unknown): string {
  if (value === '') return 'an empty string';
  if (value === null || typeof value === 'number' || value === undefined) return String(value);
  return `a value of type ${typeof value}`;
}
