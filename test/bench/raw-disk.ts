import { spawnSync } from 'node:child_process';
import { open, readdir, readlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';

export const CHUNK_BYTES = 1024 * 1024;

/** Writes and syncs a file, and returns its handle. The file is unlinked. */
export async function writeRaw(folder: string, chunks: number): Promise<Awaited<ReturnType<typeof open>>> {
  const path = join(folder, 'raw');
  const file = await open(path, 'wx+');
  await unlink(path);
  const chunk = Buffer.alloc(CHUNK_BYTES, 'raw');
  for (let index = 0; index < chunks; index += 1) await file.write(chunk, 0, CHUNK_BYTES, index * CHUNK_BYTES);
  await file.datasync();
  return file;
}

export async function readRaw(file: Awaited<ReturnType<typeof open>>, chunks: number): Promise<void> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let index = 0; index < chunks; index += 1) await file.read(chunk, 0, CHUNK_BYTES, index * CHUNK_BYTES);
}

/** Waits until all files in the folder that this process wrote are on disk, including unlinked files. */
export async function flushFiles(folder: string): Promise<void> {
  for (const path of await openFiles(folder)) {
    const file = await open(path, 'r+');
    await file.datasync();
    await file.close();
  }
}

/**
 * Drops the page cache of these files, so that reads come from the disk. GNU dd can do this without privileges
 * (`POSIX_FADV_DONTNEED`).
 */
export async function forgetFiles(folder: string): Promise<void> {
  for (const path of await openFiles(folder)) {
    const { status, stderr } = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`GNU dd could not drop the page cache of ${path}: ${stderr}`);
  }
}

async function openFiles(folder: string): Promise<string[]> {
  const fds = `/proc/${process.pid}/fd`;
  const files: string[] = [];
  for (const fd of await readdir(fds)) {
    const path = join(fds, fd);
    const target = await readlink(path).catch(() => '');
    if (target.startsWith(`${folder}/`)) files.push(path);
  }
  return files;
}
