/**
 * Decides whether a history of one register is linearizable: whether each operation can be given a moment
 * between its call and its return so that, one after the other, every read finds what the last write left.
 *
 * The search is that of Wing and Gong, cut short as Lowe did by remembering what was tried: the same
 * operations done, in whatever order, with the same value left.
 * @see J. Wing, C. Gong: Testing and verifying concurrent objects (1993)
 * @see G. Lowe: Testing for linearizability (2017)
 */
export interface Operation {
  readonly kind: 'read' | 'write' | 'compare-and-set';
  /** The written or read value; undefined for no value, as after a deletion. */
  readonly value: string | undefined;
  /** Of a `compare-and-set`: the value that it replaces. One that was refused is a read of what it found. */
  readonly expected?: string | undefined;
  /** By one clock for all operations. */
  readonly called: number;
  /** Infinity for a write or a `compare-and-set` whose outcome is unknown: it may happen at any time after its call, or never. */
  readonly returned: number;
}

/** @returns an order that explains the history, or undefined. */
export function linearize(history: readonly Operation[], initial?: string): Operation[] | undefined {
  const operations = [...history].sort((a, b) => a.called - b.called);
  const tried = new Set<string>();
  const order: Operation[] = [];

  const search = (done: bigint, value: string | undefined): boolean => {
    const open = operations.flatMap((operation, i) => (done & (1n << BigInt(i)) ? [] : [{ operation, i }]));
    if (open.every(({ operation }) => operation.returned === Infinity)) return true;
    const state = `${done}/${value ?? ''}`;
    if (tried.has(state)) return false;
    tried.add(state);
    // Only an operation that was called before any other returned can come first.
    const firstReturn = Math.min(...open.map(({ operation }) => operation.returned));
    for (const { operation, i } of open) {
      if (operation.called > firstReturn) break;
      if (operation.kind === 'read' && operation.value !== value) continue;
      if (operation.kind === 'compare-and-set' && operation.expected !== value) continue;
      order.push(operation);
      if (search(done | (1n << BigInt(i)), operation.value)) return true;
      order.pop();
    }
    return false;
  };

  return search(0n, initial) ? order : undefined;
}
