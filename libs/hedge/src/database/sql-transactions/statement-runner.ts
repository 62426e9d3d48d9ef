import type { SqlLibrary } from './library.js';
import { isObjectWith, rowsOf, type SqlResult } from './shapes.js';

interface StatementRunner {
  query(text: string, values: unknown[]): Promise<SqlResult>;
}

/** An object of the user that runs a statement in a transaction of any library, as the transaction of PGlite does. */
export const statementRunner: SqlLibrary = {
  transaction(tx) {
    if (!isObjectWith(tx, ['query'])) return undefined;
    return {
      mayBeNone: true,
      query: async (text, values) => rowsOf(await (tx as StatementRunner).query(text, [...values])),
    };
  },

  source: () => undefined,
};
