/** A range of a file. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/**
 * Allocates ranges of a file. A freed range is a hole, which later ranges fill. A hole counts as used, because the disk
 * still stores it. So the file is never longer than the most bytes that were allocated at a time, with holes.
 */
export class Extents {
  #end = 0;
  /** Sorted by offset; no two are adjacent. */
  #holes: Extent[] = [];

  /** The length of the file at most. */
  get end(): number {
    return this.#end;
  }

  /** The bytes by which a range of that length makes the file longer. */
  growth(length: number): number {
    return this.#holes.some((hole) => hole.length >= length) ? 0 : length;
  }

  allocate(length: number): Extent {
    const index = this.#holes.findIndex((hole) => hole.length >= length);
    const hole = this.#holes[index];
    if (hole === undefined) {
      const extent = { offset: this.#end, length };
      this.#end += length;
      return extent;
    }
    const rest = { offset: hole.offset + length, length: hole.length - length };
    this.#holes.splice(index, 1, ...(rest.length > 0 ? [rest] : []));
    return { offset: hole.offset, length };
  }

  free(extent: Extent): void {
    const next = this.#holes.findIndex(({ offset }) => offset > extent.offset);
    const at = next < 0 ? this.#holes.length : next;
    let { offset, length } = extent;
    let [from, count] = [at, 0];
    const after = this.#holes[at];
    if (after !== undefined && after.offset === offset + length) {
      length += after.length;
      count += 1;
    }
    const before = this.#holes[at - 1];
    if (before !== undefined && before.offset + before.length === offset) {
      offset = before.offset;
      length += before.length;
      from -= 1;
      count += 1;
    }
    this.#holes.splice(from, count, { offset, length });
  }

  /** Shortens the file by a hole at its end, but not below that offset. Returns the removed bytes. */
  trim(to: number): number {
    const last = this.#holes.at(-1);
    if (last === undefined || last.offset + last.length !== this.#end) return 0;
    const end = Math.max(last.offset, to);
    const cut = this.#end - end;
    if (cut <= 0) return 0;
    this.#holes.pop();
    if (end > last.offset) this.#holes.push({ offset: last.offset, length: end - last.offset });
    this.#end = end;
    return cut;
  }
}
