import { HedgeError } from '../common/errors.js';

/**
 * Declares the types of topics, by module augmentation. For a declared topic, `LeaderService.send` and
 * `ClusterService.broadcast` accept only its data type and return its reply type.
 *
 * @example
 * declare module 'nestjs-hedge' {
 *   interface HedgeTopics {
 *     price: { data: { qty: number }; reply: { total: number } };
 *   }
 * }
 * const { total } = await leader.send('price', { qty: 2 }); // total: number
 */
// eslint-disable-next-line typescript/no-empty-object-type
export interface HedgeTopics {}

export type DeclaredTopic = Extract<keyof HedgeTopics, string>;
export type TopicData<Topic extends DeclaredTopic> = HedgeTopics[Topic] extends { data: infer Data } ? Data : unknown;
export type TopicReply<Topic extends DeclaredTopic> = HedgeTopics[Topic] extends { reply: infer Reply }
  ? Reply
  : unknown;
/** Any topic that is not declared. So a declared topic with the wrong data does not match as an undeclared one. */
export type UndeclaredTopic<Topic extends string> = Topic extends DeclaredTopic ? never : Topic;

export const MAX_TOPIC_LENGTH = 256;

/**
 * Checks that a topic is a string of at most 256 characters without lone surrogates. A lone surrogate would change on the
 * wire, so the other pod would read another topic. The empty string is the default topic.
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

/** The prefix of internal topics, which users do not see. */
export const RESERVED_TOPICS = '__hedge/';

/** The prefix of the topics of calls that `@LeaderOnly({ forward: true })` sends to the leader. */
export const FORWARDED_TOPIC_PREFIX = `${RESERVED_TOPICS}leader-only/`;

export function isForwarded({ topic }: { readonly topic: string }): boolean {
  return topic.startsWith(FORWARDED_TOPIC_PREFIX);
}

/** The name of a topic in errors and log lines: `'price'`, or `@LeaderOnly of 'IndexController.rebuild'`. */
export function nameOfTopic(topic: string): string {
  return isForwarded({ topic }) ? `@LeaderOnly of '${topic.slice(FORWARDED_TOPIC_PREFIX.length)}'` : `'${topic}'`;
}

/** The topic for people: a forwarded call has the name of its method. */
export function destinationOf(topic: string): string {
  return isForwarded({ topic }) ? topic.slice(FORWARDED_TOPIC_PREFIX.length) : topic;
}
