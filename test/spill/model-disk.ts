import type { DataDisk, DataFile } from '../../libs/hedge/src/spill/node/data-file.js';

export type DiskState = 'well' | 'full' | 'dead';

/** A real disk, which can be full or dead. */
export class FailingDisk implements DataDisk {
  state: DiskState = 'well';
  /** The pending operations. */
  busy = 0;
  /** The lengths of the open files. */
  readonly #lengths = new Map<DataFile, number>();

  constructor(private readonly disk: DataDisk) {}

  get bytes(): number {
    return [...this.#lengths.values()].reduce((sum, length) => sum + length, 0);
  }

  prepare = () => this.#do(() => this.disk.prepare());
  free = () => this.#do(() => this.disk.free());

  async create(): Promise<DataFile> {
    const file = await this.#do(() => this.disk.create());
    this.#lengths.set(file, 0);
    return {
      read: (into, position) => this.#do(() => file.read(into, position)),
      write: (bytes, position) =>
        this.#do(async () => {
          const full = this.state === 'full';
          if (full && bytes.length < 50_000) throw new Error('ENOSPC: no space left');
          // A part of a long frame still has room.
          const written = await file.write(full ? bytes.subarray(0, bytes.length / 2) : bytes, position);
          this.#lengths.set(file, Math.max(this.#lengths.get(file) ?? 0, position + written));
          return written;
        }),
      close: () => this.#do(() => file.close().finally(() => this.#lengths.delete(file)), true),
    };
  }

  async #do<T>(work: () => Promise<T>, always = false): Promise<T> {
    if (this.state === 'dead' && !always) throw new Error('EIO: i/o error');
    this.busy += 1;
    try {
      return await work();
    } finally {
      this.busy -= 1;
    }
  }
}
