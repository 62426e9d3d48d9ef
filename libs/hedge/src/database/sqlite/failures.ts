import { HedgeError } from '../../common/errors.js';
import type { Failure, OperationName, WorkerConfig } from './protocol.js';

/** Converts a failure to the error of the contracts in `database/`. */
export function toHedgeError(config: WorkerConfig, operation: OperationName, failure: Failure): HedgeError {
  const { file } = config;
  const details = { file, reason: failure.code };
  const advice = operation === 'connect' ? adviceForGood(config, failure) : undefined;
  if (advice !== undefined) {
    return new HedgeError(
      'INVALID_OPTIONS',
      `sqlite ${file} cannot be used: ${failure.message.replace(/\.$/, '')}. ${advice}`,
      {
        details,
      },
    );
  }
  if (failure.code.startsWith('SQLITE_TOOBIG')) {
    return new HedgeError('INVALID_ARGUMENT', 'The value is larger than SQLite can hold. Nothing was written.', {
      details,
    });
  }
  if (failure.code === 'READS_WAIT') {
    return new HedgeError(
      'OVERLOADED',
      `${operation} on sqlite ${file} failed: ${failure.message}. Read less at once, or try again later.`,
      { details },
    );
  }
  if (operation === 'overwrite' && !failure.withoutEffect) {
    return new HedgeError(
      'OUTCOME_UNKNOWN',
      `The outcome of ${operation} on sqlite ${file} is unknown: ${failure.message}. Read the key before you write it again.`,
      { details },
    );
  }
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `${operation} on sqlite ${file} failed: ${failure.message}. ${adviceForNow(failure)}`,
    { details },
  );
}

/** The fix for a permanent failure; undefined when a retry may help. */
function adviceForGood({ file, lockTable, logTable }: WorkerConfig, { code }: Failure): string | undefined {
  switch (code.replace(/^(SQLITE_[A-Z]+).*/, '$1')) {
    case 'NO_LIBSQL':
      return 'Install the database client: npm i libsql.';
    case 'LIBSQL_FAILED':
      return 'Install libsql again on the platform that runs it: npm i libsql.';
    case 'ERR_DLOPEN_DISABLED':
      return 'Node forbids native add-ons, and libsql is one. Start Node with --allow-addons.';
    case 'WORKER_FORBIDDEN':
      return 'The permission model of Node forbids threads. Start Node with --allow-worker and --allow-addons.';
    case 'WORKER_MISSING':
      return 'A bundler has probably moved the library. Keep nestjs-hedge and libsql external in its configuration.';
    case 'NO_TABLES':
      return 'Give the file of the pods, and their lockTable and logTable if they set these. The pods make the tables.';
    case 'NO_FOLDER':
      return 'Create the folder, or change the option file.';
    case 'NO_WAL':
      return 'Put the file on a local disk, where SQLite can use a write-ahead log.';
    case 'SQLITE_NOTADB':
    case 'SQLITE_CORRUPT':
      return 'Restore it from a backup, or name another file. To start empty, stop all pods and delete the file with its -wal and -shm.';
    case 'SQLITE_READONLY':
      return 'Make the file and its folder writable for this process.';
    case 'SQLITE_CANTOPEN':
      return 'It must be a file that this process can read and write, in a folder where the process can create files.';
    case 'SQLITE_ERROR':
      return `Another program probably owns table ${lockTable} or ${logTable} in ${file}: name other tables, or another file.`;
    default:
      return undefined;
  }
}

function adviceForNow({ code }: Failure): string {
  if (code === 'FILE_REPLACED') {
    return 'The pod now opens the new file. Stop all pods before you delete, move or restore the file: they lose the content of the old one.';
  }
  if (code === 'WAL_REPLACED') {
    return 'Only pods may open the file while they run. Look for another SQLite library in this process or in another pod.';
  }
  if (code.startsWith('SQLITE_BUSY')) {
    return 'If it persists, that process is stopped during a write (SIGSTOP, a debugger, a frozen container), and nobody can lead until it continues: continue it or kill it. `fuser` on the file lists the processes that have it open.';
  }
  if (code === 'NO_TURN')
    return 'The processors of this machine are overloaded, or its disk does not respond. Try again.';
  if (code === 'WRITES_WAIT') return 'Write less at once, or check its disk. Try again later.';
  if (code.startsWith('SQLITE_FULL')) return 'Make room on its disk. The driver then recovers without a restart.';
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return 'Stop all pods and restore the file from a backup.';
  return 'Try again. If it persists, check the file, its folder and its disk.';
}
