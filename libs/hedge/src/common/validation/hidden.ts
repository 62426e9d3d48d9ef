import { inspect } from 'node:util';

/**
 * Holds a value that must not get into a log: `util.inspect`, `console.log` and `JSON.stringify` of it, and of whatever
 * it is a part of, show that there is one and no more.
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
