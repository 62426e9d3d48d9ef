/**
 * Decides whether a history of registers is linearizable: whether each operation can be given a moment between its call
 * and its return so that, one after the other, each finds what the last writes left.
 *
 * The search is that of Wing and Gong, cut short as Lowe did by remembering what was tried: the same
 * operations done, in whatever order, with the same values left.
 * @see J. Wing, C. Gong: Testing and verifying concurrent objects (1993)
 * @see G. Lowe: Testing for linearizability (2017)
 */
export interface Operation {
  /** The values that it found, by key: of a read, or of a condition that held. Undefined for no value, as after a deletion. */
  readonly found: Values;
  /** The values that it wrote, all at the same moment; undefined for a deletion. */
  readonly wrote: Values;
  /** By one clock for all operations. */
  readonly called: number;
  /** Infinity for a write whose outcome is unknown: it may happen at any time after its call, or never. */
  readonly returned: number;
}

export type Values = Readonly<Record<string, string | undefined>>;

/** A read of these values. */
export function readOf(found: Values, called: number, returned: number): Operation {
  return { found, wrote: {}, called, returned };
}

/** A write of these values, if the `found` ones are there. */
export function writeOf(wrote: Values, called: number, returned: number, found: Values = {}): Operation {
  return { found, wrote, called, returned };
}

/** @returns an order that explains the history, or undefined. */
export function linearize(history: readonly Operation[]): Operation[] | undefined {
  const operations = [...history].sort((a, b) => a.called - b.called);
  const keys = [...new Set(operations.flatMap(({ found, wrote }) => [...Object.keys(found), ...Object.keys(wrote)]))];
  const tried = new Set<string>();
  const order: Operation[] = [];

  const search = (done: bigint, values: Values): boolean => {
    const open = operations.flatMap((operation, i) => (done & (1n << BigInt(i)) ? [] : [{ operation, i }]));
    if (open.every(({ operation }) => operation.returned === Infinity)) return true;
    const state = JSON.stringify([String(done), keys.map((key) => values[key] ?? null)]);
    if (tried.has(state)) return false;
    tried.add(state);
    // Only an operation that was called before any other returned can come first.
    const firstReturn = Math.min(...open.map(({ operation }) => operation.returned));
    for (const { operation, i } of open) {
      if (operation.called > firstReturn) break;
      if (Object.entries(operation.found).some(([key, value]) => values[key] !== value)) continue;
      order.push(operation);
      if (search(done | (1n << BigInt(i)), { ...values, ...operation.wrote })) return true;
      order.pop();
    }
    return false;
  };

  return search(0n, {}) ? order : undefined;
}
