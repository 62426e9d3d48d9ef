/** A piece of a file. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/**
 * Which pieces of a file are taken. A freed piece stays a hole, which counts as used, because the disk still has it,
 * and which the next pieces fill; so the file is never longer than what was taken at a time, holes included.
 */
export class Extents {
  #end = 0;
  /** By offset; no two of them touch. */
  #holes: Extent[] = [];

  /** How long the file may be. */
  get end(): number {
    return this.#end;
  }

  /** By how much the file would grow. */
  growth(length: number): number {
    return this.#holes.some((hole) => hole.length >= length) ? 0 : length;
  }

  take(length: number): Extent {
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

  /** Ends the file earlier when there is a hole at its end, but not before that offset; returns by how much. */
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
