/** An invariant that did not hold. */
export class Violation extends Error {
  constructor(
    readonly invariant: string,
    message: string,
  ) {
    super(`${invariant}: ${message}`);
  }
}

export function violated(invariant: string, message: string): never {
  throw new Violation(invariant, message);
}
