// @ts-check
import { parentPort, workerData } from 'node:worker_threads';
import { SqliteDatabase } from './database.js';
import { codeOf, isBusy, messageOf, mustReconnect } from './errors.js';

/** @import { End, Failure, OperationName, Reply, Request, WorkerConfig } from '../protocol.js' */

// The thread that talks to SQLite, so that neither an fsync nor another process's transaction stops the event
// loop. This folder is JavaScript with checked types, because Node itself starts a thread and reads its
// files: the same ones from the sources in tests and from the published package.

const port = /** @type {import('node:worker_threads').MessagePort} */ (parentPort);
const database = new SqliteDatabase(/** @type {WorkerConfig} */ (workerData));

/** @type {ReadonlySet<OperationName>} */
const READS = new Set(['readLease', 'latest', 'history', 'keys']);

/** Longest pause before a busy database is tried again, in milliseconds. */
const LONGEST_PAUSE_MS = 16;

/**
 * Writes that wait for their turn, and reads that found the database busy.
 * @type {Request[]}
 */
const waiting = [];
let pumping = false;
/** Tries of the first in `waiting` that found the database busy. */
let tries = 0;

port.on('message', (/** @type {Request[] | End} */ requests) => {
  if (requests === 'end') return end();
  /** @type {Reply[]} */
  const replies = [];
  for (const request of requests) {
    // Reads are answered at once: the queue may be waiting for another process, or about to fsync.
    const reply = READS.has(request.operation) ? attempt(request) : undefined;
    if (reply === undefined) waiting.push(request);
    else replies.push(reply);
  }
  if (replies.length > 0) send(replies);
  if (!pumping && waiting.length > 0) {
    pumping = true;
    setImmediate(pump);
  }
});

/** The thread ends when nothing is left that could wake it. */
function end() {
  waiting.length = 0;
  database.disconnect();
  port.close();
}

/** Performs the first waiting request; between any two, messages are heard. */
function pump() {
  const [request] = waiting;
  if (request === undefined) {
    pumping = false;
    return;
  }
  const reply = attempt(request);
  if (reply === undefined) {
    tries++;
    setTimeout(pump, Math.random() * Math.min(LONGEST_PAUSE_MS, 2 ** tries));
    return;
  }
  tries = 0;
  waiting.shift();
  send([reply]);
  setImmediate(pump);
}

/**
 * @param {Request} request
 * @returns {Reply | undefined} undefined when the database is busy and there is time to try again
 */
function attempt({ id, operation, args, giveUpAt }) {
  if (monotonicMs() >= giveUpAt) {
    return { id, failure: { code: 'SQLITE_BUSY', message: 'it was busy all the time', withoutEffect: true } };
  }
  try {
    const perform = /** @type {(...args: any[]) => unknown} */ (database[operation]);
    return { id, value: perform.apply(database, [...args]) };
  } catch (error) {
    if (isBusy(error)) return undefined;
    if (mustReconnect(error)) database.disconnect();
    return { id, failure: describe(error) };
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

/** @param {Reply[]} replies */
function send(replies) {
  port.postMessage(replies, []);
}

/** As in thread.ts: the one clock that all threads of a process read alike. */
function monotonicMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}
