// @ts-check
import { parentPort, workerData } from 'node:worker_threads';
import { SqliteDatabase } from './database.js';
import { DatabaseError, codeOf, isBusy, isReplaced, messageOf, mustReconnect } from './errors.js';
import { lockedBy } from './lock-owner.js';
import { isRead, RequestQueues } from './queues.js';

/** @import { End, Failure, Reply, Request, WorkerConfig, Write } from '../protocol.js' */

// A thread that talks to SQLite, so that neither an fsync nor another process's transaction stops the event
// loop. This folder is JavaScript with checked types, because Node itself starts a thread and reads its
// files: the same ones from the sources in tests and from the published package.

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const database = new SqliteDatabase(/** @type {WorkerConfig} */ (workerData));

/** Longest pause before a busy database is tried again, in milliseconds. */
const LONGEST_PAUSE_MS = 16;
/** Replies wait for each other up to this size, for posting costs more than a read. */
const REPLIES_BYTES = 256 * 1_024;

const queues = new RequestQueues();
let pumping = false;
/** Tries in a row that found the database busy. */
let tries = 0;
/** How often something was performed, and how often the database was busy. */
let performed = 0;
let timesBusy = 0;
/** The same when each request came: what has happened while it waited. */
const atArrival = /** @type {WeakMap<Request, { performed: number, timesBusy: number }>} */ (new WeakMap());
/** Once the file was replaced, the answer to everything, until the main thread ends this one. */
let replaced = /** @type {unknown} */ (undefined);

port.on('message', (/** @type {Request[] | End} */ requests) => {
  if (requests === 'end') return end();
  for (const request of requests) {
    atArrival.set(request, { performed, timesBusy });
    queues.add(request);
  }
  if (replaced !== undefined) return refuseAll(replaced);
  // At once: the writes may be waiting for another process, or about to fsync.
  read();
  wake();
});

function wake() {
  if (pumping || queues.empty) return;
  pumping = true;
  setImmediate(pump);
}

/** The thread ends when nothing is left that could wake it. */
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

/** @param {unknown} error an error after which the connections are of no more use */
function lose(error) {
  if (!isReplaced(error)) return database.disconnect();
  replaced = error;
  refuseAll(error);
}

/** Performs what is next; between any two transactions, and any two pages, messages are heard. */
function pump() {
  pumping = false;
  if (!read()) return pauseBusy();
  const requests = queues.takeWrites();
  if (requests.length === 0) return wake();
  const late = requests.filter(({ giveUpAt }) => monotonicMs() >= giveUpAt);
  send(late.map((request) => ({ id: request.id, failure: describe(lateness(request)) })));
  const inTime = requests.filter((request) => !late.includes(request));
  if (inTime.length > 0 && !write(inTime)) return pauseBusy();
  tries = 0;
  wake();
}

/**
 * Why a request was not begun in time.
 * @param {Request} request
 */
function lateness(request) {
  const before = atArrival.get(request);
  const othersWere = performed !== before?.performed;
  if (tries > 0 || (!othersWere && timesBusy !== before?.timesBusy)) {
    return new DatabaseError('SQLITE_BUSY', `it was busy all the time: ${lockedBy(workerData.file)}`);
  }
  if (!othersWere) return new DatabaseError('NO_TURN', 'its thread had no turn in time');
  return isRead(request)
    ? new DatabaseError('READS_WAIT', 'other reads were before it all the time')
    : new DatabaseError('WRITES_WAIT', 'other writes were before it all the time');
}

function pauseBusy() {
  tries++;
  timesBusy++;
  pumping = true;
  setTimeout(pump, Math.random() * Math.min(LONGEST_PAUSE_MS, 2 ** tries));
}

/**
 * All short reads that wait, and one page of the long ones.
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
 * @returns {Reply | undefined} undefined when the database is busy and there is time to try again
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
      // What one of them is too large for, the others may not be.
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
  return { code: codeOf(error), message: messageOf(error), withoutEffect };
}

/**
 * Only of what may be large.
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

/** As in thread.ts: the one clock that all threads of a process read alike. */
function monotonicMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}
