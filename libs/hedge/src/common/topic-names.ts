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
