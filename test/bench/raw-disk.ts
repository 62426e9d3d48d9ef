import { spawnSync } from 'node:child_process';
import { open, readdir, readlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';

export const CHUNK_BYTES = 1024 * 1024;

/** Writes a file in one go, until the disk has it, and returns its handle; the file has no name any more. */
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

/** Waits until the disk has what this process wrote to files in the folder, those without a name too. */
export async function flushFiles(folder: string): Promise<void> {
  for (const path of await openFiles(folder)) {
    const file = await open(path, 'r+');
    await file.datasync();
    await file.close();
  }
}

/**
 * Makes the system forget what it keeps in memory of those files, so that reading is reading from the disk.
 * GNU dd asks for that without any rights (`POSIX_FADV_DONTNEED`).
 */
export async function forgetFiles(folder: string): Promise<void> {
  for (const path of await openFiles(folder)) {
    const { status, stderr } = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`The page cache of ${path} cannot be dropped, which GNU dd does: ${stderr}`);
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
