// @ts-check

/** An error with a code of our own, in the way of SQLite's. */
export class DatabaseError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {boolean} [withoutEffect] whether nothing was written for sure
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
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Whether another connection was in the way, and nothing was written.
 * @param {unknown} error
 */
export function isBusy(error) {
  return /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error));
}

/**
 * Whether the thread must end: libsql closes a connection only with its last statement, and there is no other way to
 * be sure of that.
 * @param {unknown} error
 */
export function isReplaced(error) {
  return /^(FILE|WAL)_REPLACED$/.test(codeOf(error));
}

/**
 * Whether the connections are of no more use. A full disk is not such a case: to open the file again takes
 * more of it.
 * @param {unknown} error
 */
export function mustReconnect(error) {
  return isReplaced(error) || /^SQLITE_(IOERR|CORRUPT|NOTADB|CANTOPEN|READONLY|MISUSE)/.test(codeOf(error));
}

/**
 * Runs a COMMIT. One that fails, other than busy, may come back after a crash, when SQLite reads its log.
 * @param {() => void} commit
 */
export function commitOrThrow(commit) {
  try {
    commit();
  } catch (error) {
    throw isBusy(error) ? error : new DatabaseError(codeOf(error), messageOf(error), false);
  }
}
