import { describe, expect, it } from '@jest/globals';
import { anything, assert, property } from 'fast-check';
import { memory } from '../database/memory/index.js';
import { postgres } from '../database/postgres/index.js';
import { sqlite } from '../database/sqlite/index.js';
import { HedgeError } from '../common/errors.js';
import { TIMING_PRESETS } from '../common/timing.js';
import type { HedgeOptions } from './options.js';
import { resolveOptions } from './validate.js';

const good: HedgeOptions = { group: 'orders', backend: memory() };

function problemsOf(options: unknown): string[] {
  try {
    resolveOptions(options as HedgeOptions);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(HedgeError);
    expect(error).toMatchObject({ code: 'INVALID_OPTIONS' });
    return (error as HedgeError).details['problems'] as string[];
  }
}

describe('options', () => {
  it('have defaults for all but group and backend', () => {
    expect(resolveOptions(good)).toMatchObject({
      address: ':7400',
      mode: 'member',
      timing: TIMING_PRESETS.lan,
      defaultTimeoutMs: 10_000,
      limits: { maxMessageBytes: 4 * 1024 * 1024 },
      shutdown: { drainMs: 5_000, totalMs: 10_000 },
    });
  });

  it('may be given as undefined, which means the default', () => {
    expect(resolveOptions({ ...good, address: undefined, timing: { leaseMs: undefined } })).toMatchObject({
      address: ':7400',
      timing: TIMING_PRESETS.lan,
    });
  });

  it('take a worker thread for renewals, of a backend that one can open', () => {
    const backend = sqlite({ file: '/data/hedge.db' });
    expect(resolveOptions({ ...good, backend }).renewal).toBeUndefined();
    expect(resolveOptions({ ...good, backend, renewal: 'worker' }).renewal).toEqual({
      backend: { module: expect.stringMatching(/^file:/), make: 'sqlite', options: expect.anything() },
      maxStallMs: 2 * TIMING_PRESETS.lan.leaseMs,
    });
    expect(problemsOf({ ...good, backend, maxStallMs: 9_000 })).toEqual([expect.stringContaining('no effect without')]);
    const short = { ...good, backend, renewal: 'worker', maxStallMs: 100 };
    expect(problemsOf(short)).toEqual([expect.stringContaining('at least timing.leaseMs (8000)')]);
  });

  it.each([
    ['memory', () => memory(), /cannot open this backend/],
    [
      'a lent pool',
      () => postgres({ pool: { connect: () => undefined, options: {} } as never }),
      /pool works on the main/,
    ],
    [
      'a lent client',
      () => postgres({ client: { query: () => undefined } as never }),
      /client works on the main thread/,
    ],
    [
      'an option that is a function',
      () => postgres({ connectionString: 'postgres://u@h/d', ssl: { checkServerIdentity: () => undefined } }),
      /cannot be copied to a worker thread/,
    ],
  ])('refuse renewals by a worker thread with %s, and say why', (_, backend, problem) => {
    expect(problemsOf({ ...good, backend: backend(), renewal: 'worker' })).toEqual([expect.stringMatching(problem)]);
  });

  it('take single durations over a preset', () => {
    expect(resolveOptions({ ...good, timing: { preset: 'local', heartbeatMs: 300 } }).timing).toEqual({
      ...TIMING_PRESETS.local,
      heartbeatMs: 300,
    });
  });

  it('give a whole stop five seconds more than the drain', () => {
    expect(resolveOptions({ ...good, shutdown: { drainMs: 20_000 } }).shutdown.totalMs).toBe(25_000);
    expect(resolveOptions({ ...good, limits: { maxMessageBytes: 2 ** 25 } }).limits.maxQueuedBytes).toBe(2 ** 26);
    expect(resolveOptions({ ...good, limits: { maxRunning: 9 } }).limits.maxRunningPerTopic).toBe(5);
  });

  it.each([
    ['a missing group', { backend: memory() }, /^group is missing; give a name/],
    ['a missing backend', { group: 'g' }, /^backend is missing; give a backend, as sqlite/],
    ['a group with a space', { ...good, group: 'my app' }, /^group is 'my app'; /],
    ['a backend class', { ...good, backend: class {} }, /^backend is a function; /],
    ['an unknown option', { ...good, adress: ':1' }, /^adress is not an option\. Did you mean address\?/],
    [
      'an unknown nested option',
      { ...good, timing: { leaseMS: 1 } },
      /^timing\.leaseMS .* Did you mean timing\.leaseMs\?/,
    ],
    ['a far-off option', { ...good, colour: 'red' }, /^colour is not an option\. Known are group, /],
    ['an option named as an object method', { ...good, toString: 1 }, /^toString is not an option/],
    [
      'an address without a port',
      { ...good, address: 'pod-a' },
      /^Option `address` "pod-a" is not host:port; write ":7400" \(Hedge then chooses the host\)/,
    ],
    [
      'a reserved prefix',
      { ...good, kv: { prefix: '__hedge/x' } },
      /^kv\.prefix is '__hedge.*; give visible characters/,
    ],
    ['a long prefix', { ...good, kv: { prefix: 'x'.repeat(257) } }, /^kv\.prefix is .*; give visible characters/],
    ['a prefix with a line break', { ...good, kv: { prefix: 'a\n' } }, /^kv\.prefix is /],
    ['an unknown mode', { ...good, mode: 'leader' }, /^mode is 'leader'; give one of 'member', 'client', 'off'/],
    ['an unknown preset', { ...good, timing: 'lam' }, /^timing is 'lam'; give one of 'local', 'lan', 'wan'/],
    ['a text for a number', { ...good, defaultTimeoutMs: '10s' }, /^defaultTimeoutMs is '10s'; give a whole number/],
    ['a timer beyond what Node can wait', { ...good, defaultTimeoutMs: 2 ** 31 }, /^defaultTimeoutMs is 2147483648/],
    ['NaN', { ...good, timing: { leaseMs: NaN } }, /^timing\.leaseMs is NaN/],
    ['a guard class', { ...good, enhancers: { guards: [class {}] } }, /^enhancers\.guards is an array; .*instances/],
    ['TLS without a key', { ...good, tls: { ca: '-----BEGIN A', cert: '-----BEGIN B' } }, /^tls\.key is missing/],
    [
      'a file name as certificate',
      { ...good, tls: { ca: '/etc/ca.pem', cert: '-----BEGIN', key: '-----BEGIN ' } },
      /^tls\.ca is '\/etc\/ca\.pem'; give the PEM text itself/,
    ],
    [
      'a share of handlers above the whole',
      { ...good, limits: { maxRunning: 10, maxRunningPerTopic: 11 } },
      /^limits\.maxRunningPerTopic is 11, .* limits\.maxRunning \(10\)/,
    ],
    ['half a rerun', { ...good, maxReruns: 0.5 }, /^maxReruns is 0\.5; give a whole number of reruns from 0/],
    ['no handler of a topic', { ...good, limits: { maxRunningPerTopic: 0 } }, /^limits\.maxRunningPerTopic is 0; give/],
    ['a lease shorter than its renewal', { ...good, timing: { leaseMs: 5_000 } }, /5000 − 1000 = 4000/],
    ['a slow database call', { ...good, timing: { backendTimeoutMs: 5_000 } }, /^timing\.backendTimeoutMs is 5000/],
    ['a long pause between tries', { ...good, timing: { retryMs: 9_000 } }, /^timing\.retryMs is 9000/],
    ['rare heartbeats', { ...good, timing: { heartbeatMs: 3_000 } }, /^timing\.heartbeatTimeoutMs is 5000/],
    [
      'a queue too short for a message',
      { ...good, limits: { maxQueuedBytes: 4e6 } },
      /^limits\.maxQueuedBytes is 4000000/,
    ],
    [
      'a commit hash as version',
      { ...good, preferNewest: { appVersion: '9fceb02' } },
      /^preferNewest\.appVersion is '9fceb02'; give numbers between dots/,
    ],
    ['no version to prefer', { ...good, preferNewest: {} }, /^preferNewest\.appVersion is missing; give numbers/],
    ['a drain longer than the stop', { ...good, shutdown: { drainMs: 9, totalMs: 9 } }, /^shutdown\.totalMs is 9/],
  ])('refuse %s, naming option, value and fix', (_, options, problem) => {
    const problems = problemsOf(options);
    expect(problems.join('\n')).toMatch(problem);
  });

  it('report all problems at once', () => {
    expect(problemsOf({ group: '', backend: memory(), mode: 'x', limits: { maxRunning: 0 } })).toHaveLength(3);
  });

  it('never show a secret', () => {
    const [problem] = problemsOf({ ...good, secret: 'hunter2' });
    expect(problem).toBe('secret has 7 characters; give 16 or more.');
    expect(problemsOf({ ...good, secret: ['stored', 'hunter2'] }).join()).toMatch(
      /^secret is a list whose entry 2 has 7 characters; give a text of 16 characters or more, or a list/,
    );
    expect(problemsOf({ ...good, secret: [] }).join()).toMatch(/^secret is an empty list; give a text of 16/);
    expect(problemsOf({ ...good, secret: 12_345_678 }).join()).toMatch(/^secret is of type number; give a text of 16/);
    const tls = { ca: '-----BEGIN ', cert: '-----BEGIN ', key: 'hunter2' };
    expect(problemsOf({ ...good, tls })).toEqual([expect.stringMatching(/^tls\.key is a text without a PEM header;/)]);
    expect(problemsOf({ ...good, tls }).join()).not.toContain('hunter2');
  });

  it.each(['group', 'address', 'mode', 'timing', 'tls', 'limits', 'defaultTimeoutMs', 'spill', 'serializer'])(
    'cut what stands in %s, which may be a secret in the wrong place',
    (name) => {
      const misplaced = 'c0rrect-horse-battery staple';
      for (const options of [
        { ...good, [name]: misplaced },
        { ...good, [name]: { preset: misplaced } },
      ]) {
        expect(() => resolveOptions(options as HedgeOptions)).toThrow(
          expect.objectContaining({ message: expect.not.stringContaining('battery') }),
        );
        expect(JSON.stringify(problemsOf(options))).not.toContain('battery');
      }
    },
  );

  it('name the labels of metrics that exist', () => {
    expect(problemsOf({ ...good, metrics: { labels: ['topic', 'lock', 'semaphore'] } })).toEqual([]);
    for (const labels of ['topic', ['topic', 'key']]) {
      expect(problemsOf({ ...good, metrics: { labels } })).toEqual([
        expect.stringMatching(/^metrics\.labels is .*; give an array of 'topic', 'lock', 'semaphore'\.$/),
      ]);
    }
  });

  it.each([
    ['no list', { prefix: '', versions: 1 }],
    ['a rule that is no object', ['rates/']],
    ['no prefix', [{ versions: 1 }]],
    ['a reserved prefix', [{ prefix: '__hedge/', versions: 1 }]],
    [
      'one prefix twice',
      [
        { prefix: 'a/', versions: 1 },
        { prefix: 'a/', days: 1 },
      ],
    ],
    ['no limit', [{ prefix: '' }]],
    ['a limit without a value', [{ prefix: '', versions: undefined }]],
    ['no version', [{ prefix: '', versions: 0 }]],
    ['half a version', [{ prefix: '', versions: 1.5 }]],
    ['versions without end', [{ prefix: '', versions: Infinity }]],
    ['versions as a text', [{ prefix: '', versions: '3' }]],
    ['negative days', [{ prefix: '', days: -1 }]],
    ['days that are no number', [{ prefix: '', days: NaN }]],
    ['days as a text', [{ prefix: '', days: '30' }]],
    ['days beyond a century', [{ prefix: '', tombstonesDays: 36_501 }]],
    ['days of tombstones as a date', [{ prefix: '', versions: 1, tombstonesDays: new Date(0) }]],
    ['an unknown limit', [{ prefix: '', version: 1 }]],
    ['an unknown limit beside a known one', [{ prefix: '', versions: 1, day: 1 }]],
    ['a limit named as an object method', [{ prefix: '', toString: 1 }]],
    ['another one of these', [{ prefix: '', versions: 1, hasOwnProperty: 1 }]],
    ['a limit named as the constructor', [{ prefix: '', versions: 1, constructor: 1 }]],
    ['a limit named as the prototype', [JSON.parse('{ "prefix": "", "versions": 1, "__proto__": 1 }') as unknown]],
  ])('refuse a retention with %s', (_, retention) => {
    expect(problemsOf({ ...good, kv: { retention } })).toEqual([
      expect.stringMatching(/^kv\.retention is .*; give an array as \[\{ prefix: 'rates\/', versions: 100, /),
    ]);
  });

  it('take rules of retention with fractions of days, and with days of zero', () => {
    const retention = [
      { prefix: '', versions: 1, days: undefined },
      { prefix: 'a/', days: 0.5, tombstonesDays: 0 },
    ];
    expect(resolveOptions({ ...good, kv: { retention } }).kv.retention).toEqual(retention);
  });

  it('stay on one line, and visible, whatever stands in them', () => {
    const [problem] = problemsOf({ ...good, group: 'a\nb\u202e' });
    expect(problem).toContain("group is 'a\\u{a}b\\u{202e}'; ");
    expect(problemsOf({ ...good, ['x\n'.repeat(99)]: 1 }).join()).toContain('(198 characters) is not an option');
  });

  it('are refused with a typed error, whatever they are', () => {
    assert(
      property(anything({ maxDepth: 3 }), (options) => {
        expect(problemsOf(options).length).toBeGreaterThan(0);
      }),
    );
  });
});
