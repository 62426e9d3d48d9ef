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
