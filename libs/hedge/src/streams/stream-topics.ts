/**
 * Gives stream topics their types, by augmentation. A declared topic then takes only a source of its data and yields
 * its replies, in `LeaderService.sendStream` and `ClusterService.broadcastStream`.
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
/** Any topic but a declared one, so that a declared one with the wrong data does not pass as undeclared. */
export type UndeclaredStream<Topic extends string> = Topic extends DeclaredStream ? never : Topic;
