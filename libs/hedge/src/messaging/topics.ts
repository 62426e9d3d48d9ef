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
 * A topic is a string of at most 256 characters; the empty one is the default topic.
 * @throws HedgeError INVALID_ARGUMENT
 */
export function checkTopic(topic: unknown): asserts topic is string {
  if (typeof topic === 'string' && topic.length <= MAX_TOPIC_LENGTH) return;
  const got = typeof topic === 'string' ? `one of ${topic.length} characters` : `a ${typeof topic}`;
  throw new HedgeError(
    'INVALID_ARGUMENT',
    `A topic is a string of at most ${MAX_TOPIC_LENGTH} characters, and this is ${got}. Use a shorter name, or '' for the default topic.`,
  );
}
