import { HedgeError } from '../common/errors.js';

export const MAX_TOPIC_LENGTH = 256;

/**
 * A topic is a string of at most 256 characters, without lone surrogates, which would reach another pod as another
 * topic; the empty one is the default topic.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkTopic(topic: unknown): asserts topic is string {
  if (typeof topic === 'string' && topic.length <= MAX_TOPIC_LENGTH && topic.isWellFormed()) return;
  const got =
    typeof topic === 'string'
      ? topic.isWellFormed()
        ? `one of ${topic.length} characters`
        : 'one with a lone surrogate'
      : topic === undefined
        ? 'undefined'
        : `a value of type ${typeof topic}`;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `A topic is a string of at most ${MAX_TOPIC_LENGTH} characters, and this is ${got}. Use another name, or '' for the default topic.`,
  );
}
