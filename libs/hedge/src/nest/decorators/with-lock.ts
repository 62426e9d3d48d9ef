import { checkKeys } from '../../common/validation/check-keys.js';
import { checkDecoration } from './decorated-method.js';
import { Inject } from '@nestjs/common';
import { HedgeError } from '../../common/errors.js';
import { assertLockName, LockService } from '../../locks/lock.service.js';

export interface WithLockOptions {
  /** How long a call waits for the lock, in milliseconds. Default: the module's `defaultTimeoutMs`, 10 s. */
  readonly timeoutMs?: number | undefined;
}

/** Where Nest puts the service on each instance, by property injection: so each app has its own, in any scope. */
const LOCKS = Symbol('nestjs-hedge:locks');

type Method<Args extends unknown[]> = (...args: [...Args, ...never[]]) => Promise<unknown>;

/**
 * Runs an async method of a provider or controller under a named lock: calls of it never overlap, on whatever pod.
 * The call rejects as `LockService.acquire` does when the lock is not free in time; the method is not called then.
 * For work that has to know that it lost the lock, use `LockService.use`, which has a signal and a fencing token.
 *
 * Other decorators may stand above and below. Do not use it on a method that returns an Observable: the lock would be
 * released before the first subscription.
 *
 * @param name the name of the lock, or a function that returns it for the arguments of the method.
 *
 * @example
 * \@WithLock((order: Order) => `orders/${order.id}`, { timeoutMs: 2_000 })
 * async ship(order: Order) { … }
 */
export function WithLock<Args extends unknown[] = []>(
  name: string | ((...args: Args) => string),
  options: WithLockOptions = {},
) {
  return <Decorated extends Method<Args>>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<Decorated>,
  ): void => {
    const place = `${(typeof target === 'function' ? target : target.constructor).name}.${String(key)}`;
    const method = descriptor.value;
    if (typeof target === 'function' || typeof method !== 'function') {
      throw misplaced(`${place} is decorated with @WithLock, which is for methods of objects that Nest makes.`);
    }
    checkDecoration(place, () => {
      if (typeof name === 'string') assertLockName(name);
      checkKeys('The options of @WithLock', options, ['timeoutMs']);
    });
    Inject(LockService)(target, LOCKS);
    const locked = async function (this: { [LOCKS]?: LockService }, ...args: [...Args, ...never[]]): Promise<unknown> {
      const locks = this[LOCKS];
      if (locks === undefined) {
        throw misplaced(
          `${place} is decorated with @WithLock, and its object was not made by Nest, so it has no LockService. Register the class itself, or use LockService.use in the method.`,
        );
      }
      const lock = typeof name === 'string' ? name : name(...(args as unknown as Args));
      return locks.use(lock, options, () => method.apply(this, args));
    };
    descriptor.value = dressedAs(method, locked) as Decorated;
  };
}

/** Copies the name, the arity and the metadata of a method, by which Nest and other decorators recognise it. */
function dressedAs<Replacement extends object>(method: object, replacement: Replacement): Replacement {
  for (const property of ['name', 'length']) {
    const own = Object.getOwnPropertyDescriptor(method, property);
    if (own !== undefined) Object.defineProperty(replacement, property, own);
  }
  for (const key of Reflect.getOwnMetadataKeys(method)) {
    Reflect.defineMetadata(key, Reflect.getOwnMetadata(key, method), replacement);
  }
  return replacement;
}

function misplaced(message: string): HedgeError {
  return new HedgeError('INVALID_OPTIONS', message);
}
