import { readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';

const BLOCK_BYTES = 512;

/**
 * The disk usage of the files of a directory in bytes, as the system reports it. Spilled data is in unlinked files, which
 * exist as long as a process has them open. Linux lists them under /proc; other systems do not show them.
 */
export async function diskUse(directory: string, pids: readonly number[]): Promise<number> {
  const named = (await readdir(directory)).map((name) => join(directory, name));
  const open = process.platform === 'linux' ? await Promise.all(pids.map((pid) => filesOf(pid, directory))) : [];
  const stats = await Promise.all([...named, ...open.flat()].map((file) => stat(file).catch(() => undefined)));
  return stats.reduce((sum, found) => sum + (found?.blocks ?? 0) * BLOCK_BYTES, 0);
}

/** Paths to the unlinked files of a directory that a process has open. */
async function filesOf(pid: number, directory: string): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []); // the process has ended
  const targets = await Promise.all(names.map((name) => readlink(join(folder, name)).catch(() => '')));
  const ours = (target = '') => target.startsWith(`${directory}/`) && target.endsWith(' (deleted)');
  return names.filter((_, index) => ours(targets[index])).map((name) => join(folder, name));
}
