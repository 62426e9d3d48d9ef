import { HedgeError, messageOf } from '../../common/errors.js';

/**
 * Checks what a decorator was given.
 * @param place of the decorated method, for people: `OrdersController.price`.
 * @throws HedgeError INVALID_OPTIONS naming the place, for what `check` throws.
 */
export function checkDecoration(place: string, check: () => void): void {
  try {
    check();
  } catch (cause) {
    throw new HedgeError('INVALID_OPTIONS', `${place} is decorated wrongly. ${messageOf(cause)}`, { cause });
  }
}
