import { HedgeError } from '../common/errors.js';

/**
 * Gives topics their types, by augmentation. A declared topic then takes only its data and yields its reply,
 * in `LeaderService.send` and `ClusterService.broadcast`.
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
/** Any topic but a declared one, so that a declared one with the wrong data does not pass as undeclared. */
export type UndeclaredTopic<Topic extends string> = Topic extends DeclaredTopic ? never : Topic;

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

/** Prefix of the topics of the library itself. Users do not see them. */
export const RESERVED_TOPICS = '__hedge/';

/** Topics of calls that `@LeaderOnly({ forward: true })` sends to the leader. */
export const FORWARDED_TOPIC_PREFIX = `${RESERVED_TOPICS}leader-only/`;

export function isForwarded({ topic }: { readonly topic: string }): boolean {
  return topic.startsWith(FORWARDED_TOPIC_PREFIX);
}

/** The name of a topic in messages to people: `'price'`, or `@LeaderOnly of 'IndexController.rebuild'`. */
export function nameOfTopic(topic: string): string {
  return isForwarded({ topic }) ? `@LeaderOnly of '${topic.slice(FORWARDED_TOPIC_PREFIX.length)}'` : `'${topic}'`;
}
