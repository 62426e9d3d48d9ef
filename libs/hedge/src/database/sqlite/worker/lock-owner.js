// @ts-check
import { readFileSync, realpathSync, statSync } from 'node:fs';

/** The byte of `-shm` that SQLite locks for a writer (`WAL_WRITE_LOCK`). */
const WRITE_LOCK_BYTE = 120;

/**
 * Describes the holder of the write lock of the file, by its process id where the system reports it (Linux).
 * @param {string} file
 */
export function lockedBy(file) {
  const owner = ownerOf(file);
  if (owner === undefined) return 'another process holds its write lock';
  return owner === process.pid
    ? 'another module of this process holds its write lock'
    : `process ${owner} holds its write lock`;
}

/**
 * @param {string} file
 * @returns {number | undefined}
 */
function ownerOf(file) {
  try {
    const inode = String(statSync(`${realpathSync(file)}-shm`).ino);
    for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
      // 4: POSIX  ADVISORY  WRITE 13563 fe:00:10068623 120 120
      const [, , , kind, pid, place, first, last] = line.trim().split(/\s+/);
      if (kind !== 'WRITE' || place?.split(':')[2] !== inode) continue;
      // The pid of a process in another container is 0 or -1.
      if (Number(first) <= WRITE_LOCK_BYTE && Number(last) >= WRITE_LOCK_BYTE && Number(pid) > 0) return Number(pid);
    }
  } catch {
    // Not on this system.
  }
  return undefined;
}
