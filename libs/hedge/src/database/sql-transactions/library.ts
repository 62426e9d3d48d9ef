/** A row by the names of its columns. */
export type SqlRow = Readonly<Record<string, unknown>>;

/** An open transaction of the user, in which a driver runs statements. */
export interface SqlTransaction {
  /**
   * @param values of `$1`, `$2`, …, or of each `?` in SQLite: texts and nulls only.
   * @throws the error of the library
   */
  query(text: string, values: readonly (string | null)[]): Promise<readonly SqlRow[]>;
  /** The same at once; only of a synchronous library. */
  readonly run?: (text: string, values: readonly (string | null)[]) => readonly SqlRow[];
  /** Its shape does not show whether it is in a transaction. */
  readonly mayBeNone?: boolean;
}

/** What a driver does as the last statements of a transaction. It returns no promise in one of a synchronous library. */
export type LastInTransaction = (tx: unknown) => void | Promise<void>;

/** Work, and `last` after it, as one. */
export function workThenLast<Result>(
  work: (tx: unknown) => Result | Promise<Result>,
  last: LastInTransaction | undefined,
): (tx: unknown) => Promise<Result> {
  return async (tx) => {
    const result = await work(tx);
    await last?.(tx);
    return result;
  };
}

/** Runs work in a new transaction, and commits it when the work resolves. */
export type RunTransaction = <Result>(work: (tx: unknown) => Promise<Result>) => Promise<Result>;

/**
 * How to recognise the objects of one library by their shape, without loading the library. The methods return undefined
 * for an object of another library.
 */
export interface SqlLibrary {
  /** @throws HedgeError INVALID_ARGUMENT (`notInTransaction`) for an object of this library that is no open transaction */
  transaction(tx: object): SqlTransaction | undefined;
  source(source: object): RunTransaction | undefined;
}
