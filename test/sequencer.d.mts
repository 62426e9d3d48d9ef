interface Test {
  readonly path: string;
}

/** Test files that take long, the longest first. */
export const LONGEST: readonly string[];

/** The part of Jest's class that tests call. */
export default class {
  constructor(options: object);
  sort<T extends Test>(tests: readonly T[]): T[];
}
