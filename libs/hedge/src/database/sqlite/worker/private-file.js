// @ts-check
import { chmodSync, existsSync, linkSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Makes the database file, empty and for its owner only, when it is not there: it will hold the group's secret. SQLite
 * gives the files beside it, `-wal` and `-shm`, the mode of the file. A file that is there keeps its mode, so that an
 * operator can let other users in.
 *
 * The file is made under another name and closed before it gets its own: closing a file ends all locks that this
 * process has on it, those of another connection too.
 * @param {string} file
 * @returns {() => void} to be called when SQLite has opened the file, and before anything is written to it
 */
export function createPrivately(file) {
  if (existsSync(file)) return () => undefined;
  const draft = `${file}.${process.pid}-${Math.random().toString(36).slice(2)}.tmp`;
  try {
    writeFileSync(draft, '', { mode: 0o600, flag: 'wx' });
    linkSync(draft, file);
  } catch {
    // It was made meanwhile, or cannot be: SQLite says why when it opens the file.
  } finally {
    rmSync(draft, { force: true });
  }
  // For a file system without links, and a symbolic link to a file that is not there: then SQLite has made it.
  return () => {
    try {
      chmodSync(file, 0o600);
    } catch {
      // Another user has made it meanwhile, who decides on its mode.
    }
  };
}
