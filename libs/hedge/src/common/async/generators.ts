/** Whether a call of it only makes a generator, and runs nothing of its body. Not seen of one that a compiler rewrote. */
export function isGeneratorFunction(value: unknown): boolean {
  return /^\[object (Async)?GeneratorFunction\]$/.test(Object.prototype.toString.call(value));
}

/** Whether it is a generator, also one of a function that a compiler rewrote. */
export function isGenerator(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (!(Symbol.asyncIterator in value || Symbol.iterator in value)) return false;
  const { next, return: leave, throw: fail } = value as Partial<Generator>;
  return [next, leave, fail].every((method) => typeof method === 'function');
}
