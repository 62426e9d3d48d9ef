import { isForwarded, nameOfTopic } from '../../messaging/topics.js';

/**
 * What the decorators leave on methods for discovery and wiring to find. Symbols from the global registry,
 * so that two copies of this package in one process (an app and a library of its) understand each other.
 */
export const HANDLERS = Symbol.for('nestjs-hedge:handlers');
export const NOTICES = Symbol.for('nestjs-hedge:notices');

/** The transport of our patterns in Nest. So patterns of other transports do not reach us, and ours do not reach them. */
export const HEDGE_TRANSPORT = Symbol.for('nestjs-hedge:transport');

export type HandlerKind = 'leader' | 'broadcast' | 'leader-stream' | 'broadcast-stream' | 'probe';

/** The message pattern of one handler, as Nest carries it. */
export interface HandlerPattern {
  readonly hedge: HandlerKind;
  readonly topic: string;
}

/** Methods that are called by the module itself, outside Nest's message pipeline. */
export type NoticeKind = 'leader-change' | 'members-change' | 'while-leader';

export function handlersOf(method: object): readonly HandlerPattern[] {
  return (Reflect.getMetadata(HANDLERS, method) as HandlerPattern[] | undefined) ?? [];
}

export function noticesOf(method: object): readonly NoticeKind[] {
  return (Reflect.getMetadata(NOTICES, method) as NoticeKind[] | undefined) ?? [];
}

const NOTICE_DECORATORS: Readonly<Record<NoticeKind, string>> = {
  'leader-change': 'OnLeaderChange',
  'members-change': 'OnMembersChange',
  'while-leader': 'WhileLeader',
};

/** The name of such a decorator in errors and log lines: `@WhileLeader()`. */
export function describeNotice(kind: NoticeKind): string {
  return `@${NOTICE_DECORATORS[kind]}()`;
}

const DECORATORS: Readonly<Record<HandlerKind, string>> = {
  leader: 'OnLeaderMessage',
  broadcast: 'OnBroadcast',
  'leader-stream': 'OnLeaderStream',
  'broadcast-stream': 'OnBroadcastStream',
  probe: 'Probe',
};

/** The name of a handler in errors and log lines: `@OnBroadcast('flush')`. */
export function describePattern(pattern: HandlerPattern): string {
  if (isForwarded(pattern)) return nameOfTopic(pattern.topic);
  return `@${DECORATORS[pattern.hedge]}(${pattern.topic === '' ? '' : `'${pattern.topic}'`})`;
}
