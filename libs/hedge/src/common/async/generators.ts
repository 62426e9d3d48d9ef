/**
 * Whether this is a generator function: calling it runs none of its body. Does not recognise a function that a compiler
 * rewrote.
 */
export function isGeneratorFunction(value: unknown): boolean {
  return /^\[object (Async)?GeneratorFunction\]$/.test(Object.prototype.toString.call(value));
}

/** Whether this is a generator. Recognises those of a function that a compiler rewrote, too. */
export function isGenerator(value: unknown): value is Generator {
  if (typeof value !== 'object' || value === null) return false;
  if (!(Symbol.asyncIterator in value || Symbol.iterator in value)) return false;
  const { next, return: leave, throw: fail } = value as Partial<Generator>;
  return [next, leave, fail].every((method) => typeof method === 'function');
}
