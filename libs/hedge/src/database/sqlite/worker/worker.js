// @ts-check
import { parentPort, workerData } from 'node:worker_threads';
import { monotonicMs } from './clock.js';
import { SqliteDatabase } from './database.js';
import { DatabaseError, codeOf, isBusy, isReplaced, errorMessage, mustReconnect } from './errors.js';
import { lockedBy } from './lock-owner.js';
import { isRead, RequestQueues } from './queues.js';

/** @import { End, Failure, Reply, Request, WorkerConfig, Write } from '../protocol.js' */

// A thread that calls SQLite, so that neither an fsync nor a transaction of another process blocks the event loop. This
// folder is JavaScript with checked types, because Node loads the files of a thread itself: tests load the same files as
// the published package.

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const database = new SqliteDatabase(/** @type {WorkerConfig} */ (workerData));

/**
 * The longest pause before a busy database is tried again, in milliseconds: with a waiting renewal, without one, and when a
 * write has no time left. Shorter ones would take the processor from the process that holds the lock.
 */
const LONGEST_PAUSE_MS = { renewal: 16, other: 32, last: 8 };
/** A write is tried at least about this often in the rest of its time. */
const TRIES_LEFT = 16;
/** Replies are posted together up to this size, because posting costs more than a read. */
const REPLIES_BYTES = 256 * 1_024;

/** The interval at which a thread without requests compares the file, in milliseconds. */
const IDLE_CHECK_MS = 5_000;

const queues = new RequestQueues();
let pumping = false;
/** Consecutive attempts that found the database busy. */
let tries = 0;
/** The number of performed operations, and the number of attempts with a busy database. */
let performed = 0;
let timesBusy = 0;
/** Both numbers at the arrival of each request: the difference shows why it waited. */
const atArrival = /** @type {WeakMap<Request, { performed: number, timesBusy: number }>} */ (new WeakMap());
/** After the file was replaced, the error for all requests, until the main thread ends this one. */
let replaced = /** @type {unknown} */ (undefined);

port.on('message', (/** @type {Request[] | End} */ requests) => {
  if (requests === 'end') return end();
  for (const request of requests) {
    atArrival.set(request, { performed, timesBusy });
    queues.add(request);
  }
  if (replaced !== undefined) return refuseAll(replaced);
  // Reads run at once, because writes may wait for another process, or for an fsync.
  read();
  wake();
});

// An idle thread, such as that of a follower's renewals, must not keep a replaced file open: SQLite shares its index of the
// write-ahead log within the process, so no other thread could open the new file (`assertNoneStale`).
setInterval(() => {
  if (pumping || !queues.empty || replaced !== undefined) return;
  const changed = errorOf(() => database.assertSameFile());
  if (changed === undefined) return;
  lose(changed);
  if (isReplaced(changed)) port.postMessage({ replaced: describe(changed) }, []);
}, IDLE_CHECK_MS).unref();

function wake() {
  if (pumping || queues.empty) return;
  pumping = true;
  setImmediate(pump);
}

/** After this nothing can wake the thread, so it ends. */
function end() {
  refuseAll(new DatabaseError('WORKER_LOST', 'it was closed'));
  database.disconnect();
  port.close();
}

/** @param {unknown} error */
function refuseAll(error) {
  const failure = { ...describe(error), withoutEffect: true };
  send(queues.takeAll().map(({ id }) => ({ id, failure })));
}

/** @param {unknown} error an error after which the connections cannot be used */
function lose(error) {
  if (!isReplaced(error)) return database.disconnect();
  replaced = error;
  refuseAll(error);
}

/** Performs the next operations. The event loop receives messages between any two transactions, and any two pages. */
function pump() {
  pumping = false;
  if (!read()) return pauseBusy();
  const requests = queues.takeWrites();
  if (requests.length === 0) return wake();
  const late = requests.filter(({ giveUpAt }) => monotonicMs() >= giveUpAt);
  send(late.map((request) => ({ id: request.id, failure: describe(lateness(request)) })));
  const inTime = refuse(requests.filter((request) => !late.includes(request)));
  if (inTime.length > 0 && !write(inTime)) return pauseBusy();
  tries = 0;
  wake();
}

/**
 * The error of a request that did not begin in time.
 * @param {Request} request
 */
function lateness(request) {
  const before = atArrival.get(request);
  const othersWere = performed !== before?.performed;
  if (tries > 0 || (!othersWere && timesBusy !== before?.timesBusy)) {
    return new DatabaseError('SQLITE_BUSY', `the database stayed busy: ${lockedBy(workerData.file)}`);
  }
  if (!othersWere) return new DatabaseError('NO_TURN', 'its thread did not run in time');
  return isRead(request)
    ? new DatabaseError('READS_WAIT', 'too many reads were queued before it')
    : new DatabaseError('WRITES_WAIT', 'too many writes were queued before it');
}

/**
 * The pause grows with the number of writers that compete. Those with a renewal try more often than others, and those with
 * a write that has little time left: otherwise chance decides which of a hundred pods waits until its deadline.
 */
function pauseBusy() {
  tries++;
  timesBusy++;
  pumping = true;
  const { renewal, other, last } = LONGEST_PAUSE_MS;
  const leftMs = queues.writesGiveUpAt - monotonicMs();
  const longestMs = Math.max(last, Math.min(queues.hasRenewals ? renewal : other, leftMs / TRIES_LEFT));
  setTimeout(pump, Math.random() * Math.min(longestMs, 2 ** tries));
}

/**
 * Answers the acquisitions of leases that are held.
 * @param {readonly Request[]} requests of one transaction
 * @returns {readonly Request[]} the others
 */
function refuse(requests) {
  /** @type {Reply[]} */
  const refused = [];
  const others = requests.filter((request) => {
    let value;
    try {
      value = database.refusal(/** @type {Write} */ (/** @type {unknown} */ (request)));
    } catch {
      // The transaction meets the same error, and reports it.
    }
    if (value !== undefined) refused.push({ id: request.id, value });
    return value === undefined;
  });
  performed += refused.length;
  send(refused);
  return others;
}

/**
 * Performs all waiting short reads, and one page of the long ones.
 * @returns {boolean} false when the database is busy
 */
function read() {
  if (!queues.hasReads) return true;
  /** @type {Reply[]} */
  let replies = [];
  let bytes = 0;
  let busy = false;
  const changed = errorOf(() => database.assertSameFile());
  if (changed !== undefined) {
    lose(changed);
    return true;
  }
  for (let request = queues.takeShortRead(); request !== undefined; request = queues.takeShortRead()) answer(request);
  const page = queues.takeLongRead();
  if (page !== undefined) answer(page);
  send(replies);
  return !busy;

  /** @param {Request} request */
  function answer(request) {
    const reply = attempt(request);
    if (reply === undefined) {
      busy = true;
      return queues.readLater(request);
    }
    replies.push(reply);
    bytes += sizeOf(reply);
    if (bytes < REPLIES_BYTES) return;
    send(replies);
    replies = [];
    bytes = 0;
  }
}

/**
 * @param {Request} request a read
 * @returns {Reply | undefined} undefined when the database is busy and there is time for another attempt
 */
function attempt(request) {
  const { id, operation, args, giveUpAt } = request;
  if (monotonicMs() >= giveUpAt) return { id, failure: describe(lateness(request)) };
  try {
    const perform = /** @type {(...args: unknown[]) => unknown} */ (database[/** @type {'latest'} */ (operation)]);
    const value = perform.apply(database, [...args]);
    performed += 1;
    return { id, value };
  } catch (error) {
    if (isBusy(error)) return undefined;
    if (mustReconnect(error)) lose(error);
    return { id, failure: describe(error) };
  }
}

/**
 * @param {readonly Request[]} requests that share a transaction, or `connect`
 * @returns {boolean} false when the database is busy: they wait again
 */
function write(requests) {
  try {
    if (requests[0]?.operation === 'connect') {
      database.connect();
      performed += 1;
      send(requests.map(({ id }) => ({ id, value: undefined })));
      return true;
    }
    const outcomes = database.write(/** @type {readonly Write[]} */ (/** @type {unknown} */ (requests)));
    performed += 1;
    send(
      outcomes.map((outcome, index) => {
        const { id } = /** @type {Request} */ (requests[index]);
        return outcome.error === undefined ? { id, value: outcome.value } : { id, failure: describe(outcome.error) };
      }),
    );
    return true;
  } catch (error) {
    if (isBusy(error)) {
      queues.putBack(requests);
      return false;
    }
    const failure = describe(error);
    if (mustReconnect(error)) lose(error);
    else if (requests.length > 1 && failure.withoutEffect) {
      // One of them may be too large, and the others not.
      queues.putBack(requests, true);
      return true;
    }
    send(requests.map(({ id }) => ({ id, failure })));
    return true;
  }
}

/** @param {() => void} run */
function errorOf(run) {
  try {
    run();
    return undefined;
  } catch (error) {
    return error;
  }
}

/**
 * @param {unknown} error
 * @returns {Failure}
 */
function describe(error) {
  const { withoutEffect = true } = /** @type {{ withoutEffect?: boolean }} */ (error);
  return { code: codeOf(error), message: errorMessage(error), withoutEffect };
}

/**
 * The approximate size of a reply; only values that may be large count.
 * @param {Reply} reply
 */
function sizeOf(reply) {
  if (reply.failure !== undefined || !Array.isArray(reply.value)) return 64;
  const value = /** @type {unknown[]} */ (reply.value)[1];
  return typeof value === 'string' ? value.length : 64;
}

/** @param {Reply[]} replies */
function send(replies) {
  if (replies.length === 0) return;
  port.postMessage(replies, []);
}
