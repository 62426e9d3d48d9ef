// @ts-check

/** An error with our own code, in the style of SQLite's codes. */
export class DatabaseError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {boolean} [withoutEffect] whether it is certain that nothing was written
   */
  constructor(code, message, withoutEffect = true) {
    super(message);
    this.code = code;
    this.withoutEffect = withoutEffect;
  }
}

/** @param {unknown} error */
export function codeOf(error) {
  return String(/** @type {{ code?: unknown }} */ (error).code);
}

/** @param {unknown} error */
export function errorMessage(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Whether another connection held a lock, and nothing was written.
 * @param {unknown} error
 */
export function isBusy(error) {
  return /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error));
}

/**
 * Whether the thread must end. libsql closes a connection only with its last statement, and only the end of the thread
 * guarantees that.
 * @param {unknown} error
 */
export function isReplaced(error) {
  return /^(FILE|WAL)_REPLACED$/.test(codeOf(error));
}

/**
 * Whether the connections must be opened again. Not after a full disk: opening the file again needs more of it.
 * @param {unknown} error
 */
export function mustReconnect(error) {
  return isReplaced(error) || /^SQLITE_(IOERR|CORRUPT|NOTADB|CANTOPEN|READONLY|MISUSE)/.test(codeOf(error));
}

/**
 * Runs a COMMIT. A commit that failed, other than busy, may still take effect after a crash, when SQLite reads its log.
 * @param {() => void} commit
 */
export function commitOrThrow(commit) {
  try {
    commit();
  } catch (error) {
    throw isBusy(error) ? error : new DatabaseError(codeOf(error), errorMessage(error), false);
  }
}
