import { inspect } from 'node:util';

/**
 * Holds a value that must not appear in a log: `util.inspect`, `console.log` and `JSON.stringify` show `[hidden]` in its
 * place, also inside of other objects.
 */
export class Hidden<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  reveal(): T {
    return this.#value;
  }

  toJSON(): string {
    return '[hidden]';
  }

  [inspect.custom](): string {
    return '[hidden]';
  }
}
