/** A promise that tells its one listener at once, because the simulation has no event loop to wait for. */
export function later<Result>(
  start: (resolve: (result: Result) => void, reject: (error: unknown) => void) => void,
): Promise<Result> {
  // oxlint-disable-next-line unicorn/no-thenable
  return { then: start } as unknown as Promise<Result>;
}
