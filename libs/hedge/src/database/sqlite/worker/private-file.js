// @ts-check
import { chmodSync, existsSync, linkSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Creates the database file if it does not exist: empty and for its owner only, because it will contain the group's
 * secret. SQLite gives the files `-wal` and `-shm` the mode of the file. An existing file keeps its mode, so that an
 * operator can give access to other users.
 *
 * The file is created under another name and closed before it gets its own: closing a file drops all locks of this
 * process on it, also those of another connection.
 * @param {string} file
 * @returns {() => void} to be called after SQLite has opened the file, and before anything is written to it
 */
export function createPrivately(file) {
  if (existsSync(file)) return () => undefined;
  const draft = `${file}.${process.pid}-${Math.random().toString(36).slice(2)}.tmp`;
  try {
    writeFileSync(draft, '', { mode: 0o600, flag: 'wx' });
    linkSync(draft, file);
  } catch {
    // Another process has created it, or it cannot be created: then SQLite reports why when it opens the file.
  } finally {
    rmSync(draft, { force: true });
  }
  // For a file system without hard links, and a symbolic link to a missing file: then SQLite has created the file.
  return () => {
    try {
      chmodSync(file, 0o600);
    } catch {
      // Another user has created it meanwhile, and decides on its mode.
    }
  };
}
