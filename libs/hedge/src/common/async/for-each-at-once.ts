/**
 * Calls the function for each item, in their order, for at most `limit` at once.
 * @throws the first error of a call. Calls for other items may go on.
 */
export async function forEachAtOnce<Item>(
  limit: number,
  items: readonly Item[],
  call: (item: Item, index: number) => Promise<void>,
): Promise<void> {
  const left = items.entries();
  const callNext = async (): Promise<void> => {
    for (const [index, item] of left) await call(item, index);
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, callNext));
}
