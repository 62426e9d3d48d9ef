import assert from 'node:assert/strict';
import { type Agreement, type DemoCluster, eventually } from './demo-cluster.js';
import { since, TAKE_OVER_MS } from './figures.js';
import type { Pod } from './pod.js';
import type { PodStream } from './pod-stream.js';

const PREFIX = 'watched/';
/** Rounds of each writer before the leader resigns, and after the next one leads. */
const ROUNDS = 5;
/** The key whose time to live ends, and its request. */
const SESSION = `${PREFIX}session`;
const PUT_SESSION = '/put?ttlMs=1000';

/** An entry of the log, as the demo returns it. */
interface Version {
  readonly key: string;
  readonly value: string;
  readonly version: string;
  readonly id: string;
  readonly expired?: true;
}

/** A client of `GET /watch` of one pod. */
class Watching {
  readonly seen: Version[] = [];
  readonly #stream: PodStream;
  #begun = false;
  #failure: unknown;

  private constructor(pod: Pod, from?: Version) {
    const query = new URLSearchParams({ prefix: PREFIX, ...(from !== undefined && { from: JSON.stringify(from) }) });
    this.#stream = pod.follow(`/watch?${query.toString()}`);
    this.#read().catch((error: unknown) => (this.#failure = error));
  }

  /** Resolves when the watch has begun. @param from the entry behind which it begins; by default at the present */
  static async begin(pod: Pod, from?: Version): Promise<Watching> {
    const watching = new Watching(pod, from);
    await watching.#until('it begins', () => watching.#begun);
    return watching;
  }

  /** Waits until such a version was seen. */
  sees(what: string, isIt: (version: Version) => boolean): Promise<void> {
    return this.#until(`it shows ${what}`, () => this.seen.some(isIt));
  }

  close(): void {
    this.#stream.close();
  }

  async #read(): Promise<void> {
    for await (const line of this.#stream.lines()) {
      if (this.#begun) this.seen.push(JSON.parse(line) as Version);
      this.#begun = true;
    }
  }

  #until(what: string, isTrue: () => boolean): Promise<void> {
    const reason = (): string => `${what}; ${this.seen.length} seen; ${String(this.#failure)}`;
    return eventually(TAKE_OVER_MS, reason, async () => isTrue());
  }
}

/** Writes to two keys of its own by requests to one pod, and records the acknowledged versions. */
class Writer {
  readonly written: Version[] = [];
  conflicts = 0;
  #rounds = 0;

  constructor(
    private readonly pod: Pod,
    readonly turn = `${PREFIX}${pod.name}/turn`,
    readonly sum = `${PREFIX}${pod.name}/sum`,
  ) {}

  async round(): Promise<void> {
    const value = String((this.#rounds += 1));
    const { turn, sum } = this;
    const first = await this.#write('/put?ifAbsent', `${turn} ${value}`);
    const second = await this.#write(ifVersion(first), `${turn} ${value} again`);
    // Another writer would have read `first`, too.
    const refusal = new RegExp(`with 409: .*CONFLICT.*${second.id}`);
    await assert.rejects(this.pod.request(ifVersion(first), `${turn} late`), refusal);
    this.conflicts += 1;
    await this.#write(
      '/transaction',
      JSON.stringify([
        { put: sum, value },
        { delete: turn, ifVersion: second },
      ]),
    );
  }

  async #write(path: string, body: string): Promise<Version> {
    const versions = [(await this.pod.request(path, body)) as Version | Version[]].flat();
    this.written.push(...versions);
    return versions[0]!;
  }
}

function ifVersion({ version, id }: Version): string {
  return `/put?ifVersion=${version}&id=${id}`;
}

/** Watches on one pod while two others write, and the leader resigns. Then goes on from the middle, on another pod. */
export async function watchFollowsAllWrites(cluster: DemoCluster): Promise<string> {
  const start = performance.now();
  const before = await cluster.agree(TAKE_OVER_MS);
  const [reader, other] = before.followers as readonly [Pod, Pod];
  const writers = [before.leader, other].map((pod) => new Writer(pod));
  const write = (): Promise<unknown> => Promise.all(writers.map((writer) => writer.round()));
  const watches = [await Watching.begin(reader)];
  try {
    const session = (await other.request(PUT_SESSION, `${SESSION} short`)) as Version;
    for (let round = 0; round < ROUNDS; round += 1) await write();
    const moved = new AbortController();
    const writeUntilMoved = async (): Promise<void> => {
      while (!moved.signal.aborted) await write();
    };
    const handOver = resign(cluster, other, before).finally(() => moved.abort());
    const [after] = await Promise.all([handOver, writeUntilMoved()]);
    for (let round = 0; round < ROUNDS; round += 1) await write();
    await watches[0]!.sees('the end of a time to live', ({ expired }) => expired === true);

    const log = await history(other, [SESSION, ...writers.flatMap(({ turn, sum }) => [turn, sum])]);
    const written = inOrder([session, ...writers.flatMap((writer) => writer.written)]);
    assertSame(
      written,
      log.filter(({ expired }) => expired === undefined),
      'the acknowledged writes',
    );
    assert.equal(log.length - written.length, 1, 'one version must be a deletion at the end of a time to live');
    const middle = Math.floor(log.length / 2);
    const later = await Watching.begin(other, log[middle]);
    watches.push(later);
    for (const watch of watches) await watch.sees('the last version', ({ id }) => id === log.at(-1)!.id);
    assertSame(watches[0]!.seen, log, `the watch on ${reader.name}`);
    assertSame(later.seen, log.slice(middle + 1), `the watch on ${other.name}`);
    const conflicts = writers.reduce((sum, writer) => sum + writer.conflicts, 0);
    return (
      `${reader.name} saw all ${log.length} versions in the order of their commits, none twice, while the leadership moved ` +
      `from ${before.leader.name} to ${after.leader.name}; ${conflicts} late writes ended with CONFLICT, and a key was ` +
      `deleted at the end of its time to live; a watch of ${other.name} from the middle saw the other ` +
      `${later.seen.length}; ${since(start)} in all`
    );
  } finally {
    for (const watch of watches) watch.close();
  }
}

/** Resolves when all pods know the next leader. */
async function resign(cluster: DemoCluster, pod: Pod, { token }: Agreement): Promise<Agreement> {
  await pod.request('/resign', '');
  for (;;) {
    const agreement = await cluster.agree(TAKE_OVER_MS);
    if (agreement.token > token) return agreement;
  }
}

/** All versions of some keys, in the order of their commits. */
async function history(pod: Pod, keys: readonly string[]): Promise<Version[]> {
  const versions = await Promise.all(keys.map((key) => pod.request(`/history?key=${encodeURIComponent(key)}`)));
  return inOrder((versions as Version[][]).flat());
}

/** Versions have the same number of digits. */
function inOrder(versions: readonly Version[]): Version[] {
  const place = ({ version, id }: Version): string => `${version} ${id}`;
  return [...versions].sort((a, b) => (place(a) < place(b) ? -1 : 1));
}

/** @throws Error that shows the first difference. */
function assertSame(actual: readonly Version[], log: readonly Version[], what: string): void {
  const shown = ({ key, value, version, id }: Version): string => `${key} ${value} ${version} ${id}`;
  const [found, expected] = [actual.map(shown), log.map(shown)];
  const at = expected.findIndex((version, place) => version !== found[place]);
  const lengths = `${what}: ${found.length} versions, and ${expected.length} in the log`;
  assert.equal(found[at], expected[at], `${lengths}; version ${at} is ${found[at]}, and in the log ${expected[at]}`);
  assert.equal(found.length, expected.length, lengths);
}
