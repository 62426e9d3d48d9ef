import { HedgeError } from '../../common/errors.js';
import type { Failure, OperationName, WorkerConfig } from './protocol.js';

/** What a failed operation means to the caller, by the contracts in `backend/`. */
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
      `sqlite ${file} did not do ${operation}: ${failure.message}. Read less at once; try again later.`,
      { details },
    );
  }
  if (operation === 'overwrite' && !failure.withoutEffect) {
    return new HedgeError(
      'OUTCOME_UNKNOWN',
      `Whether the overwrite in sqlite ${file} happened is not known: ${failure.message}. Read the key before you write it again.`,
      { details },
    );
  }
  return new HedgeError(
    'BACKEND_UNAVAILABLE',
    `sqlite ${file} did not do ${operation}: ${failure.message}. ${adviceForNow(failure)}`,
    { details },
  );
}

/** Undefined when waiting may help. */
function adviceForGood({ file, lockTable, logTable }: WorkerConfig, { code }: Failure): string | undefined {
  switch (code.replace(/^(SQLITE_[A-Z]+).*/, '$1')) {
    case 'NO_LIBSQL':
      return 'Install the database client: npm i libsql.';
    case 'LIBSQL_FAILED':
      return 'Install libsql again on the platform that runs it: npm i libsql.';
    case 'ERR_DLOPEN_DISABLED':
      return 'Node forbids native add-ons, which libsql is. Start Node with --allow-addons.';
    case 'WORKER_FORBIDDEN':
      return 'The permission model of Node forbids threads. Start Node with --allow-worker and --allow-addons.';
    case 'WORKER_MISSING':
      return 'A bundler seems to have moved the library. Keep nestjs-hedge and libsql external in its configuration.';
    case 'NO_FOLDER':
      return 'Create the folder, or change the option file.';
    case 'NO_WAL':
      return 'Put it on a local disk, where SQLite can keep a write-ahead log.';
    case 'SQLITE_NOTADB':
    case 'SQLITE_CORRUPT':
      return 'Restore it from a backup or name another file. To start empty, stop all pods and delete it with its -wal and -shm.';
    case 'SQLITE_READONLY':
      return 'Make the file and its folder writable for this process.';
    case 'SQLITE_CANTOPEN':
      return 'It must be a file that this process may read and write, in a folder where it may make others.';
    case 'SQLITE_ERROR':
      return `Something else seems to own table ${lockTable} or ${logTable} in ${file}: name other tables, or another file.`;
    default:
      return undefined;
  }
}

function adviceForNow({ code }: Failure): string {
  if (code === 'FILE_REPLACED') {
    return 'The file that is there now is opened. Stop all pods before you delete, move or restore it: what was in it is lost to them.';
  }
  if (code === 'WAL_REPLACED') {
    return 'Let nothing but pods open the file while they run; look for another SQLite library in this process or in another pod.';
  }
  if (code.startsWith('SQLITE_BUSY')) {
    return 'If it stays so, that process stands still in the middle of a write (SIGSTOP, a debugger, a frozen container), and nobody can lead before it goes on: continue it or kill it. `fuser` on the file lists those that have it open.';
  }
  if (code === 'NO_TURN') return 'The processors of this machine are overloaded, or its disk stands still. Try again.';
  if (code === 'WRITES_WAIT') return 'Write less at once, or look at its disk; try again later.';
  if (code.startsWith('SQLITE_FULL')) return 'Make room on its disk; it then works again by itself.';
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return 'Stop all pods and restore the file from a backup.';
  return 'Try again; if it stays so, look at the file, its folder and its disk.';
}
