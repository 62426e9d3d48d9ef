import { onAbort } from '../common/on-abort.js';

/** What each abort signal stops, with one listener for each signal: Node warns of a leak at more than ten. */
export class SharedSignals<Item> {
  readonly #watched = new Map<AbortSignal, { readonly items: Set<Item>; readonly stop: () => void }>();

  /** @param aborted called for each item that was not removed before. */
  constructor(private readonly aborted: (item: Item, reason: unknown) => void) {}

  add(signal: AbortSignal, item: Item): void {
    let watched = this.#watched.get(signal);
    if (watched === undefined) {
      const items = new Set<Item>();
      const abort = (): void => {
        this.#watched.delete(signal);
        for (const each of items) this.aborted(each, signal.reason);
      };
      watched = { items, stop: onAbort(signal, abort) };
      this.#watched.set(signal, watched);
    }
    watched.items.add(item);
  }

  delete(signal: AbortSignal, item: Item): void {
    const watched = this.#watched.get(signal);
    if (watched === undefined) return;
    watched.items.delete(item);
    if (watched.items.size > 0) return;
    watched.stop();
    this.#watched.delete(signal);
  }
}
