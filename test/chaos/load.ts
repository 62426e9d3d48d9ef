import { type Operation } from '../kv/linearizability.js';
import type { Pod } from '../e2e/pods.js';

const KEYS = ['a', 'b', 'c', 'd'];
/** Of one call, in milliseconds: shorter than an outage. */
const TIMEOUT_MS = 1_500;
/** Of a caller between two calls, in milliseconds: the checker needs histories that are not too long. */
const PAUSE_MS = 100;

/** The calls of a pod, in turn. */
const CALLS = ['put', 'get', 'putIfUnchanged', 'get', 'delete', 'putIfUnchanged'] as const;

/** Calls that all pods make until `stop`. Each put has a value of its own. */
export class Load {
  /** By key. */
  readonly histories: ReadonlyMap<string, Operation[]>;
  #calls = 0;
  #isStopped = false;
  readonly #callers: Promise<void>[];

  /** @param phase begins all keys, so that nothing was written before. */
  constructor(pods: readonly Pod[], phase: string) {
    this.histories = new Map(KEYS.map((key) => [`${phase}/${key}`, []]));
    this.#callers = pods.map((pod, index) => this.#keepCalling(pod, index));
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
    const keys = [...this.histories.keys()];
    for (let n = index; !this.#isStopped; n += 1) {
      const key = keys[(n >> 1) % keys.length]!;
      const call = CALLS[n % CALLS.length]!;
      if (call === 'get') await this.get(pod, key);
      else if (call === 'putIfUnchanged') await this.#putIfUnchanged(pod, key, `${index}/${n}`);
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
    this.histories.get(key)!.push({ kind: 'write', value, called, returned: done ? performance.now() : Infinity });
  }

  async #putIfUnchanged(pod: Pod, key: string, value: string): Promise<void> {
    const called = performance.now();
    const put = await pod.call('putIfUnchanged', key, value, TIMEOUT_MS).catch(() => undefined);
    // The read failed, so nothing was put.
    if (put === undefined) return;
    const returned = performance.now();
    const history = this.histories.get(key)!;
    const { expected, outcome } = put;
    history.push({ kind: 'read', value: expected, called, returned });
    if (outcome === 'conflict') history.push({ kind: 'read', value: put.found, called, returned });
    else {
      const returnedAt = outcome === 'written' ? returned : Infinity;
      history.push({ kind: 'compare-and-set', expected, value, called, returned: returnedAt });
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
    this.histories.get(key)!.push({ kind: 'read', value: found.value, called, returned: performance.now() });
    return true;
  }
}
