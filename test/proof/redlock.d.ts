// The package has types, and does not export them to ES modules.
declare module 'redlock' {
  export default class Redlock {
    constructor(clients: Iterable<unknown>, settings: { readonly retryCount: number });
    using<Result>(
      resources: readonly string[],
      durationMs: number,
      work: (signal: AbortSignal & { readonly error?: Error }) => Promise<Result>,
    ): Promise<Result>;
  }
}
