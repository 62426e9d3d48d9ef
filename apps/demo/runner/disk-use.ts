import { readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';

const BLOCK_BYTES = 512;

/**
 * The disk that the files of a directory take, in bytes, by what the system says. Spilled data is in files without a
 * name, which live as long as the process that has them open: Linux lists those under /proc, elsewhere they are not seen.
 */
export async function diskUse(directory: string, pids: readonly number[]): Promise<number> {
  const named = (await readdir(directory)).map((name) => join(directory, name));
  const open = process.platform === 'linux' ? await Promise.all(pids.map((pid) => filesOf(pid, directory))) : [];
  const stats = await Promise.all([...named, ...open.flat()].map((file) => stat(file).catch(() => undefined)));
  return stats.reduce((sum, found) => sum + (found?.blocks ?? 0) * BLOCK_BYTES, 0);
}

/** What a process has open of a directory, without a name, as paths that lead there. */
async function filesOf(pid: number, directory: string): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []); // it has ended
  const targets = await Promise.all(names.map((name) => readlink(join(folder, name)).catch(() => '')));
  const ours = (target = '') => target.startsWith(`${directory}/`) && target.endsWith(' (deleted)');
  return names.filter((_, index) => ours(targets[index])).map((name) => join(folder, name));
}
