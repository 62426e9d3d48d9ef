/**
 * Describes the first part of a value that JSON would silently drop or change, such as `value.items[2] is NaN`. Returns
 * undefined when JSON preserves the value. JSON preserves:
 *
 * - null, booleans, strings, finite numbers (-0 as 0), arrays, and the own properties of objects and class instances;
 * - an object with `toJSON`, as the result of `toJSON`: a Date becomes its ISO text;
 * - a property with the value undefined, as an absent property.
 */
export function notJson(value: unknown): string | undefined {
  return new Walk().problemOf(value);
}

/** Visits a value and tracks the path to it. The path is one array of keys, because payloads may be large. */
class Walk {
  readonly #keys: (string | number)[] = [];
  readonly #ancestors: object[] = [];

  problemOf(value: unknown): string | undefined {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return undefined;
      case 'number':
        return Number.isFinite(value) ? undefined : `${this.#name} is ${value}`;
      case 'bigint':
        return `${this.#name} is the BigInt ${value}n: send it as a string`;
      case 'undefined':
        return `${this.#name} is undefined: send null, or leave it out`;
      case 'function':
      case 'symbol':
        return `${this.#name} is a ${typeof value}`;
      case 'object':
      default:
        return value === null ? undefined : this.#problemOfObject(value as object);
    }
  }

  #problemOfObject(value: object): string | undefined {
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? `${this.#name} is an invalid Date` : undefined;
    // The class defines its own JSON form.
    if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return undefined;
    if (this.#ancestors.includes(value)) return `${this.#name} is a cycle`;
    const array = Array.isArray(value);
    const kind = array ? undefined : kindWithoutJson(value);
    if (kind !== undefined) return `${this.#name} is ${kind}`;
    this.#ancestors.push(value);
    const problem = array ? this.#problemIn(value.entries(), true) : this.#problemIn(Object.entries(value), false);
    this.#ancestors.pop();
    return problem;
  }

  #problemIn(items: Iterable<readonly [string | number, unknown]>, ofArray: boolean): string | undefined {
    for (const [key, item] of items) {
      if (item === undefined && !ofArray) continue;
      this.#keys.push(key);
      const problem = this.problemOf(item);
      if (problem !== undefined) return problem;
      this.#keys.pop();
    }
    return undefined;
  }

  get #name(): string {
    return this.#keys.reduce<string>((name, key) => name + (typeof key === 'number' ? `[${key}]` : `.${key}`), 'value');
  }
}

/** Describes an object whose content is not in its properties. */
function kindWithoutJson(value: object): string | undefined {
  if (value instanceof Map) return 'a Map: send [...map]';
  if (value instanceof Set) return 'a Set: send [...set]';
  if (value instanceof Error) return 'an Error: send its message';
  if (value instanceof RegExp) return 'a RegExp: send its source';
  if (value instanceof Promise) return 'a Promise: await it';
  if (value instanceof WeakMap || value instanceof WeakSet) return 'a weak collection';
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return 'bytes: send a Uint8Array as the whole value, or base64 text';
  }
  if (isStreamLike(value)) return 'a stream or generator: send its items by sendStream or broadcastStream';
  return undefined;
}

/** Whether the value yields its items one by one: a generator, a Readable, a ReadableStream. */
export function isStreamLike(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  const { next } = value as { next?: unknown };
  return Symbol.asyncIterator in value || (Symbol.iterator in value && typeof next === 'function');
}
