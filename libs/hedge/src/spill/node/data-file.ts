import { randomUUID } from 'node:crypto';
import { lstat, mkdir, open, readdir, statfs, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

/** A file of frames. Several reads and writes may run at once. */
export interface DataFile {
  /** As `FileHandle.read`: may read fewer bytes than requested, and 0 at the end. */
  read(into: Buffer, position: number): Promise<number>;
  /** As `FileHandle.write`: may write fewer bytes than requested. */
  write(bytes: Buffer, position: number): Promise<number>;
  /** Waits for reads and writes in flight, and frees the disk space. */
  close(): Promise<void>;
}

/** The disk for spilled frames. Tests replace it with a disk that fails. */
export interface DataDisk {
  /** Creates the directory if necessary. Rejects with the error of the system. */
  prepare(): Promise<void>;
  create(): Promise<DataFile>;
  /** Bytes that the file system of the directory has free for users. */
  free(): Promise<number>;
}

/** The names of our files. No other file in the directory is touched. */
const NAME = /^hedge-spill-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The number of reads and writes at a time. Each blocks a thread of Node's pool, which has four threads and also
 * looks up host names: links to other members must not wait for a slow disk. Two keep a disk busy.
 */
const MAX_CONCURRENT_IO = 2;

/**
 * Files without a name, as POSIX `tmpfile` makes them: each is created exclusively, with access for its owner only, and
 * unlinked before the first write. The kernel frees the file when the process ends, also when it is killed. So no
 * lock, process id or leftover file needs to be checked. `df` counts such files, `du` does not. Nothing is synced,
 * because frames do not outlive their process.
 */
export class NamelessFiles implements DataDisk {
  readonly #threads = new IoLimiter(MAX_CONCURRENT_IO);

  constructor(private readonly directory: string) {}

  async prepare(): Promise<void> {
    await this.#refuseLink();
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    await this.#refuseLink();
    // A process that was killed between open and unlink left an empty file. An open file does not need its name, so
    // all such names can be removed, those of live processes too.
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

  /** Another user could point a link in a shared directory elsewhere, and our writes and deletions would follow it. */
  async #refuseLink(): Promise<void> {
    const found = await lstat(this.directory).catch(() => undefined);
    if (found?.isSymbolicLink() === true) {
      throw new Error('it is a symbolic link, which other users may be able to change; use the path of its target');
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
    private readonly threads: IoLimiter,
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

/** Bounds the reads and writes that run at a time. The others wait in the order of their calls. */
class IoLimiter {
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

/** Writes all bytes. A write of 0 bytes counts as a full disk, because repeating it would never end. */
export async function writeAll(file: DataFile, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const written = await file.write(bytes.subarray(done), position + done);
    if (written === 0) throw new Error('the disk accepted no more bytes');
    done += written;
  }
}

/** Fills the buffer. False when the file is too short. */
export async function readAll(file: DataFile, into: Buffer, position: number): Promise<boolean> {
  for (let done = 0; done < into.length;) {
    const read = await file.read(into.subarray(done), position + done);
    if (read === 0) return false;
    done += read;
  }
  return true;
}
