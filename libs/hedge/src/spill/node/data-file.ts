import { randomUUID } from 'node:crypto';
import { lstat, mkdir, open, readdir, statfs, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

/** A file of frames. Several reads and writes may be under way at once. */
export interface DataFile {
  /** As `FileHandle.read`: may read less than asked for, and 0 at the end. */
  read(into: Buffer, position: number): Promise<number>;
  /** As `FileHandle.write`: may write less than asked for. */
  write(bytes: Buffer, position: number): Promise<number>;
  /** Waits for what is under way; the disk space is free afterwards. */
  close(): Promise<void>;
}

/** The disk under spilled frames: the seam at which tests make it fail. */
export interface DataDisk {
  /** Makes the directory usable, or rejects with the reason of the system. */
  prepare(): Promise<void>;
  create(): Promise<DataFile>;
  /** Bytes that the directory's file system has left for users. */
  free(): Promise<number>;
}

/** Nothing else in the directory is touched. */
const NAME = /^hedge-spill-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * How many reads and writes the system is asked for at a time. They block threads of Node's pool, which has four
 * and also looks up host names: links to other members must not wait for a slow disk. Two keep a disk busy.
 */
const AT_A_TIME = 2;

/**
 * Files without a name: each is created exclusively, for its owner only, and unlinked before anything is written.
 * Its space belongs to the process that has it open and to nobody else, so that the kernel frees it whenever that
 * process ends, killed or not, and there is no lock, no process id and no leftover to judge. (This is the way of
 * POSIX `tmpfile`; `df` counts such files, `du` does not.) Nothing is synced: frames do not outlive their process.
 */
export class NamelessFiles implements DataDisk {
  readonly #threads = new Threads(AT_A_TIME);

  constructor(private readonly directory: string) {}

  async prepare(): Promise<void> {
    await this.#refuseLink();
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await this.#refuseLink();
    // A process that was killed between open and unlink left an empty file. Whoever has a file open does not need
    // its name, so that all of them can go, those of living processes too.
    const names = await readdir(this.directory);
    await Promise.all(names.filter((name) => NAME.test(name)).map((name) => this.#unlinkOwn(name)));
    await (await this.create()).close();
  }

  async create(): Promise<DataFile> {
    const name = `hedge-spill-${randomUUID()}`;
    const handle = await open(join(this.directory, name), 'wx+', 0o600);
    try {
      await this.#unlink(name);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new HandleFile(handle, this.#threads);
  }

  async free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.directory);
    return bavail * bsize;
  }

  /** In a directory that all may write, others could lead our files, and what is deleted, wherever they like. */
  async #refuseLink(): Promise<void> {
    const found = await lstat(this.directory).catch(() => undefined);
    if (found?.isSymbolicLink() === true) {
      throw new Error('it is a symbolic link, which others may be able to change; give the path that it leads to');
    }
  }

  async #unlinkOwn(name: string): Promise<void> {
    const found = await lstat(join(this.directory, name)).catch(() => undefined);
    if (found?.isFile() === true && found.uid === (process.getuid?.() ?? found.uid)) await this.#unlink(name);
  }

  async #unlink(name: string): Promise<void> {
    try {
      await unlink(join(this.directory, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

class HandleFile implements DataFile {
  constructor(
    private readonly handle: FileHandle,
    private readonly threads: Threads,
  ) {}

  async read(into: Buffer, position: number): Promise<number> {
    return (await this.threads.run(() => this.handle.read(into, 0, into.length, position))).bytesRead;
  }

  async write(bytes: Buffer, position: number): Promise<number> {
    return (await this.threads.run(() => this.handle.write(bytes, 0, bytes.length, position))).bytesWritten;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Lets a number of works run at a time, the others in the order in which they came. */
class Threads {
  readonly #waiting: (() => void)[] = [];

  constructor(private free: number) {}

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.free += 1;
      else next();
    }
  }
}

/** Writes all of it. A write of nothing would never end, and counts as a full disk. */
export async function writeAll(file: DataFile, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const written = await file.write(bytes.subarray(done), position + done);
    if (written === 0) throw new Error('the disk took no more bytes');
    done += written;
  }
}

/** Fills the buffer; false when the file ends before. */
export async function readAll(file: DataFile, into: Buffer, position: number): Promise<boolean> {
  for (let done = 0; done < into.length;) {
    const read = await file.read(into.subarray(done), position + done);
    if (read === 0) return false;
    done += read;
  }
  return true;
}
