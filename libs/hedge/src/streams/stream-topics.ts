/**
 * Declares the types of stream topics, by augmentation. For a declared topic, `LeaderService.sendStream` and
 * `ClusterService.broadcastStream` accept only a source of its data, and yield its replies.
 *
 * @example
 * declare module 'nestjs-hedge' {
 *   interface HedgeStreamTopics {
 *     import: { data: Order; reply: { imported: number } };
 *   }
 * }
 * for await (const { imported } of leader.sendStream('import', orders)) console.log(imported);
 */
// eslint-disable-next-line typescript/no-empty-object-type
export interface HedgeStreamTopics {}

export type DeclaredStream = Extract<keyof HedgeStreamTopics, string>;
export type StreamData<Topic extends DeclaredStream> = HedgeStreamTopics[Topic] extends { data: infer Data }
  ? Data
  : unknown;
export type StreamReply<Topic extends DeclaredStream> = HedgeStreamTopics[Topic] extends { reply: infer Reply }
  ? Reply
  : unknown;
/** Any topic that is not declared, so that a declared topic with wrong data does not compile as an undeclared one. */
export type UndeclaredStream<Topic extends string> = Topic extends DeclaredStream ? never : Topic;
