import { readOf, writeOf, type Operation } from '../kv/linearizability.js';
import type { Pod } from '../e2e/pods.js';

/** By history: keys that transactions write together have one. */
const KEYS = [['a'], ['b'], ['c', 'd']];
/** Of one call, in milliseconds: shorter than an outage. */
const TIMEOUT_MS = 1_500;
/** Of a caller between two calls, in milliseconds: the checker needs histories that are not too long. */
const PAUSE_MS = 100;

/** The calls of a pod, in turn. */
const CALLS = ['put', 'get', 'putIfUnchanged', 'get', 'delete', 'putIfUnchanged', 'transact'] as const;

/** Calls that all pods make until `stop`. Each put has a value of its own. */
export class Load {
  readonly keys: readonly string[];
  /** One for each key; those that transactions write together share it. */
  readonly #histories: ReadonlyMap<string, Operation[]>;
  readonly #together: readonly string[];
  #calls = 0;
  #isStopped = false;
  readonly #callers: Promise<void>[];

  /** @param phase begins all keys, so that nothing was written before. */
  constructor(pods: readonly Pod[], phase: string) {
    const named = KEYS.map((keys) => keys.map((key) => `${phase}/${key}`));
    this.keys = named.flat();
    this.#together = named.at(-1)!;
    this.#histories = new Map(
      named.flatMap((keys) => {
        const history: Operation[] = [];
        return keys.map((key) => [key, history] as const);
      }),
    );
    this.#callers = pods.map((pod, index) => this.#keepCalling(pod, index));
  }

  get histories(): Operation[][] {
    return [...new Set(this.#histories.values())];
  }

  /** Number of calls that have ended. */
  get calls(): number {
    return this.#calls;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#callers);
  }

  async #keepCalling(pod: Pod, index: number): Promise<void> {
    const { keys } = this;
    for (let n = index; !this.#isStopped; n += 1) {
      const key = keys[(n >> 1) % keys.length]!;
      const call = CALLS[n % CALLS.length]!;
      if (call === 'get') await this.get(pod, key);
      else if (call === 'putIfUnchanged') await this.#putIfUnchanged(pod, key, `${index}/${n}`);
      else if (call === 'transact') await this.#transact(pod, `${index}/${n}`);
      else await this.#write(pod, key, call === 'put' ? `${index}/${n}` : undefined);
      this.#calls += 1;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  /** @param value undefined to delete the key. */
  async #write(pod: Pod, key: string, value: string | undefined): Promise<void> {
    const called = performance.now();
    const writing =
      value === undefined
        ? pod.call('delete', key, TIMEOUT_MS)
        : pod.call('put', key, value, { timeoutMs: TIMEOUT_MS });
    const done = await writing.then(
      () => true,
      () => false,
    );
    // A put that failed may still happen.
    this.#histories.get(key)!.push(writeOf({ [key]: value }, called, done ? performance.now() : Infinity));
  }

  async #putIfUnchanged(pod: Pod, key: string, value: string): Promise<void> {
    const called = performance.now();
    const put = await pod.call('putIfUnchanged', key, value, TIMEOUT_MS).catch(() => undefined);
    // The read failed, so nothing was put.
    if (put === undefined) return;
    const returned = performance.now();
    const history = this.#histories.get(key)!;
    const { expected, outcome } = put;
    history.push(readOf({ [key]: expected }, called, returned));
    if (outcome === 'conflict') history.push(readOf({ [key]: put.found }, called, returned));
    else {
      const returnedAt = outcome === 'written' ? returned : Infinity;
      history.push(writeOf({ [key]: value }, called, returnedAt, { [key]: expected }));
    }
  }

  /** Deletes the last one of some keys and puts the others, if none of them has changed. */
  async #transact(pod: Pod, value: string): Promise<void> {
    const keys = this.#together;
    const called = performance.now();
    const done = await pod.call('transactIfUnchanged', keys, value, TIMEOUT_MS).catch(() => undefined);
    if (done === undefined) return;
    const returned = performance.now();
    const history = this.#histories.get(keys[0]!)!;
    const { expected, outcome } = done;
    // The reads of two keys are not of one moment.
    for (const key of keys) history.push(readOf({ [key]: expected[key] }, called, returned));
    if (outcome === 'conflict') {
      for (const key of done.keys) history.push(readOf({ [key]: done.found[key] }, called, returned));
    } else {
      const wrote = Object.fromEntries(keys.map((key, place) => [key, place < keys.length - 1 ? value : undefined]));
      history.push(writeOf(wrote, called, outcome === 'written' ? returned : Infinity, expected));
    }
  }

  /** @returns whether it got an answer. */
  async get(pod: Pod, key: string): Promise<boolean> {
    const called = performance.now();
    const found = await pod.call('get', key).then(
      (value) => ({ value }),
      () => undefined,
    );
    if (found === undefined) return false;
    this.#histories.get(key)!.push(readOf({ [key]: found.value }, called, performance.now()));
    return true;
  }
}
