import { describe, expect, it } from '@jest/globals';
import { HedgeError } from '../../common/errors.js';
import type { KvEntry } from '../kv-entry.js';
import { KvCache } from './kv-cache.js';
import type { KvWatch } from './kv-watch.js';

const entry = (key: string, version: bigint): KvEntry =>
  ({ key, value: `${key}@${version}`, version, id: 'a' }) as KvEntry;

/** A watch that yields what the test says, and fails when it says so. */
class FakeWatch {
  readonly ready = Promise.resolve();
  ageMs = 5;
  fail: (error: HedgeError) => void = () => undefined;
  readonly #failed = new Promise<never>((_, reject) => (this.fail = reject));

  async caughtUp(): Promise<void> {}

  next(): Promise<IteratorResult<KvEntry, undefined>> {
    return this.#failed;
  }

  async return() {
    return { done: true as const, value: undefined };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

describe('KvCache', () => {
  it('is filled again after COMPACTED, also when the first read fails', async () => {
    const watches: FakeWatch[] = [];
    const reads: (() => KvEntry[])[] = [
      () => [entry('kept', 1n), entry('deleted meanwhile', 2n)],
      () => {
        throw new HedgeError('BACKEND_UNAVAILABLE', 'the database does not answer', { retryable: true });
      },
      () => [entry('kept', 3n)],
    ];
    const cache = await KvCache.open({
      watch: () => {
        const watch = new FakeWatch();
        watches.push(watch);
        return watch as unknown as KvWatch;
      },
      read: async () => reads.shift()!(),
      pause: async () => undefined,
    });
    expect(cache.entries().map(({ key }) => key)).toEqual(['deleted meanwhile', 'kept']);
    watches[0]!.fail(new HedgeError('COMPACTED', 'versions were deleted'));
    while (cache.get('kept')?.version !== 3n) await new Promise((resume) => setTimeout(resume, 5));
    expect(cache.get('deleted meanwhile')).toBeUndefined();
    expect([watches.length, cache.ageMs]).toEqual([3, 5]);
    cache.close();
  });
});
