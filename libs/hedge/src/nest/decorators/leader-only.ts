import { checkKeys } from '../../common/validation/check-keys.js';
import { HttpException, Inject } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { checkDecoration, decoratedMethod, remember, restoreMetadata, servedName } from './decorated-method.js';
import { HedgeError } from '../../common/errors.js';
import { FORWARDED_TOPIC_PREFIX } from '../../messaging/topics.js';
import { LeaderService, type SendOptions } from '../../election/leader.service.js';
import { checkCallOptions, checkReruns } from '../../messaging/call-options.js';
import { HedgeContext } from '../handlers/context.js';
import { handler } from './decorators.js';
import { sentArguments } from './forwarded-arguments.js';
import { NOTICES } from '../handlers/handler-metadata.js';
import { setJobs } from './job-decorators.js';

/** The property into which Nest injects the service, for each instance, because one process may have several apps. */
const SERVICE = Symbol.for('nestjs-hedge:leader-service');

/** Nest's own metadata of an HTTP route. */
const NEST_ROUTE = 'path';

export interface LeaderOnlyOptions {
  /** `true`: forward each call to the leader. `false`: refuse the call on other pods. Default: false. */
  readonly forward?: boolean | undefined;
  /** With `forward`: milliseconds allowed in all. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
  /**
   * With `forward`: how often a call may run again after its leader was lost while it may have run. 0: never. Default:
   * the module's `maxReruns`, 1.
   */
  readonly maxReruns?: number | undefined;
  /** With `forward`: the name of the method on the wire, unique in an app. Default: `Class.method`. */
  readonly name?: string | undefined;
}

const LEADER_ONLY_OPTIONS = Object.keys({ forward: 0, timeoutMs: 0, name: 0, maxReruns: 0 } satisfies Record<
  keyof LeaderOnlyOptions,
  0
>);

type Method = (this: object, ...args: unknown[]) => unknown;

/**
 * Lets this method of a controller or provider run on the leader only.
 *
 * On another pod, or without a leader, a call throws NOT_LEADER (an `async` method rejects) with the leader in
 * `details.leader`, and the method does not run. `isLeader()` decides, once, when the call begins.
 *
 * With `forward`, each call, also on the leader, goes to the leader as by `LeaderService.send`, and resolves with the
 * result of the method there. Arguments and result travel as JSON. The method always becomes asynchronous (write it
 * `async`, so that its type says so). It may run again under the next leader, at most `maxReruns` times. Guards,
 * interceptors and filters of the method and its class run on the leader, as those of a message handler (so a guard for
 * HTTP must check `context.getType()`). Pipes receive the arguments as one array. An HttpException of the method is thrown
 * again at the caller, so that a route answers with its status. Decorated parameters of a route work as usual: pass plain
 * data, not the request.
 *
 * @throws HedgeError NOT_LEADER, when called; with `forward` the errors of `LeaderService.send`.
 * @throws HedgeError INVALID_OPTIONS, for an invalid decoration, or at the start if two methods have one name.
 *
 * @example
 * \@Post('rebuild')
 * \@LeaderOnly({ forward: true })
 * rebuild(@Body() options: RebuildOptions) { return this.index.rebuild(options); }
 */
export function LeaderOnly(options: LeaderOnlyOptions = {}): MethodDecorator {
  return (target, key, descriptor) => {
    const decorated = decoratedMethod('@LeaderOnly', target, key, descriptor);
    const { place } = decorated;
    const original = decorated.method as Method;
    const { forward = false, name = place, timeoutMs, maxReruns } = options;
    checkOptions(place, options);
    restoreMetadata(target, decorated.name, original);
    const topic = `${FORWARDED_TOPIC_PREFIX}${name}`;
    const guarded = forward
      ? async function (this: object, ...args: unknown[]) {
          return await forwardCall(serviceOf(this, place), topic, args, { timeoutMs, maxReruns });
        }
      : onLeader(original, place);
    standInFor(original, guarded);
    (descriptor as { value?: unknown }).value = guarded;
    remember(target, decorated.name, guarded);
    Inject(LeaderService)(target, SERVICE);
    if (forward) serveForwarded(target, decorated.name, topic, { original, guarded });
  };
}

/** @throws HedgeError NOT_LEADER */
function pass(service: LeaderService, place: string): void {
  if (service.isLeader()) return;
  // A mock of a test may have only `isLeader`.
  const leader = (service as Partial<LeaderService>).leader?.();
  throw new HedgeError(
    'NOT_LEADER',
    `${place} runs on the leader only, and ${leader === undefined ? 'nobody leads now' : `${leader.address} leads`}. Nothing was started. Call it there, or let calls go there: @LeaderOnly({ forward: true }).`,
    { details: { leader: leader?.address ?? null } },
  );
}

/** Calls the method on the leader. */
async function forwardCall(
  service: LeaderService,
  topic: string,
  args: readonly unknown[],
  options: SendOptions,
): Promise<unknown> {
  try {
    return await service.send(topic, sentArguments(args), options);
  } catch (error) {
    throw asThrown(error);
  }
}

function onLeader(original: Method, place: string): Method {
  const check = (self: object): void => pass(serviceOf(self, place), place);
  // An asynchronous method rejects; it does not throw.
  if (original.constructor.name !== 'AsyncFunction') {
    return function (...args) {
      check(this);
      return original.apply(this, args);
    };
  }
  return async function (...args) {
    check(this);
    return original.apply(this, args);
  };
}

/** Gives the guarded method the name and all metadata of the original. */
function standInFor(original: Method, guarded: Method): void {
  Object.defineProperty(guarded, 'name', { value: original.name });
  Object.defineProperty(guarded, 'length', { value: original.length });
  for (const key of Reflect.getOwnMetadataKeys(original) as unknown[]) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, original), guarded);
  }
}

/**
 * Adds a second method that handles the forwarded calls. Nest finds the arguments of a message by the decorators of the
 * parameters, and those of the decorated method may belong to an HTTP route.
 *
 * The second method inherits the metadata of the decorated one, so its guards and their `Reflector` metadata apply, no
 * matter whether they are above or below `@LeaderOnly`. It hides the metadata by which Nest would call it for a route, a
 * lifecycle callback or a job, and does nothing when it is called without a message.
 */
function serveForwarded(
  target: object,
  key: string,
  topic: string,
  { original, guarded }: { original: Method; guarded: Method },
): void {
  const served = function (this: object, args: readonly unknown[], context: unknown): unknown {
    return context instanceof HedgeContext ? original.apply(this, [...args]) : undefined;
  };
  const name = servedName(key);
  const descriptor = { value: served, configurable: true, writable: true };
  Object.defineProperty(target, name, descriptor);
  handler('leader', topic)(target, name, descriptor);
  Payload()(target, name, 0);
  Ctx()(target, name, 1);
  Reflect.defineMetadata(NEST_ROUTE, undefined, served);
  Reflect.defineMetadata(NOTICES, [], served);
  setJobs(served, []);
  // Last, so that the metadata above is set on this method only.
  Object.setPrototypeOf(served, guarded);
}

function serviceOf(instance: { readonly [SERVICE]?: LeaderService } | undefined, place: string): LeaderService {
  const service = instance?.[SERVICE];
  if (service !== undefined) return service;
  throw new HedgeError(
    'INVALID_OPTIONS',
    `${place} is @LeaderOnly, but it was called without an instance that Nest made. Import HedgeModule, let Nest make the class (not useFactory or useValue), and call it as a method.`,
  );
}

function checkOptions(place: string, options: LeaderOnlyOptions): void {
  const { forward, name, timeoutMs, maxReruns } = options;
  checkDecoration(place, () => {
    checkKeys('The options of @LeaderOnly', options, LEADER_ONLY_OPTIONS);
    if (timeoutMs !== undefined) checkCallOptions('@LeaderOnly', place, timeoutMs, undefined);
    if (maxReruns !== undefined) checkReruns(`@LeaderOnly '${place}'`, maxReruns);
  });
  const forwarding = name !== undefined || timeoutMs !== undefined || maxReruns !== undefined;
  if (name === '' || (forward !== true && forwarding)) {
    throw new HedgeError(
      'INVALID_OPTIONS',
      `${place} is decorated wrongly. name (not empty), timeoutMs and maxReruns are for { forward: true }: add that, or remove them.`,
    );
  }
}

/** The HttpException of the method, if it threw one; else the error as it is. */
function asThrown(error: unknown): unknown {
  if (!(error instanceof HedgeError) || error.code !== 'HANDLER_FAILED') return error;
  const { status, response } = error.details;
  return typeof status === 'number'
    ? new HttpException((response as object | undefined) ?? error.message, status, { cause: error })
    : error;
}
