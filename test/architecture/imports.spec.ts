import { describe, expect, it } from '@jest/globals';
import { resolve } from 'node:path';
import {
  crowdedFolders,
  impureCores,
  impurities,
  importsOf,
  nestOutsideOf,
  packagesOf,
  requestKinds,
  requestKindsIn,
  unusedPermissions,
  wrongImports,
  type Layers,
} from './imports.js';

const SOURCE = resolve('libs/hedge/src');

/** What each folder imports. A folder inside of another has a line of its own where less is allowed. */
const LAYERS: Layers = {
  common: [],
  wire: [],
  telemetry: ['common'],
  database: ['common'],
  'database/memory': ['common', 'database'],
  'database/sqlite': ['common', 'database'],
  'database/postgres': ['common', 'database'],
  'database/spanner': ['common', 'database'],
  transport: ['common', 'wire', 'telemetry'],
  messaging: ['common', 'wire', 'telemetry', 'transport'],
  lease: ['common', 'telemetry', 'database'],
  streams: ['common', 'wire', 'telemetry', 'transport', 'messaging'],
  election: ['common', 'wire', 'telemetry', 'database', 'transport', 'messaging', 'lease', 'streams'],
  membership: ['common', 'wire', 'telemetry', 'database', 'transport', 'messaging', 'streams'],
  kv: ['common', 'wire', 'telemetry', 'database', 'messaging'],
  locks: ['common', 'telemetry', 'database', 'transport', 'messaging', 'lease'],
  semaphores: ['common', 'wire', 'telemetry', 'database', 'messaging'],
  'spill/records': ['common'],
  'spill/node': ['common', 'spill/records'],
  'spill/replication': ['common', 'wire', 'transport', 'messaging', 'spill/records', 'spill/node'],
  'spill/placement': ['common', 'spill/records', 'spill/node', 'spill/replication'],
  'spill/service': [
    'common',
    'wire',
    'transport',
    'messaging',
    'membership',
    'spill/records',
    'spill/node',
    'spill/replication',
    'spill/placement',
  ],
  jobs: ['common', 'telemetry', 'wire', 'database', 'messaging', 'election'],
  inspection: ['common', 'wire', 'messaging', 'semaphores'],
  pod: [
    'common',
    'telemetry',
    'database',
    'transport',
    'messaging',
    'streams',
    'election',
    'membership',
    'kv',
    'locks',
    'semaphores',
    'spill/node',
    'spill/service',
    'lease',
    'jobs',
    'inspection',
  ],
  nest: [
    'common',
    'telemetry',
    'database',
    'transport',
    'messaging',
    'streams',
    'election',
    'membership',
    'kv',
    'locks',
    'semaphores',
    'spill/node',
    'spill/service',
    'jobs',
    'inspection',
    'pod',
  ],
  'nest/health': ['pod'],
  'nest/prometheus': ['telemetry', 'pod', 'nest'],
  'nest/dashboard': ['common', 'membership', 'election', 'kv', 'locks', 'semaphores', 'jobs', 'inspection', 'nest'],
  cli: [
    'common',
    'database',
    'database/postgres',
    'database/spanner',
    'database/sqlite',
    'transport',
    'membership',
    'locks',
    'semaphores',
    'kv',
    'jobs',
    'inspection',
    'pod',
    'nest',
  ],
  index: [
    'common',
    'database',
    'transport',
    'messaging',
    'streams',
    'election',
    'membership',
    'kv',
    'locks',
    'semaphores',
    'spill/records',
    'spill/placement',
    'spill/service',
    'jobs',
    'inspection',
    'pod',
    'nest',
  ],
  testing: ['common', 'wire', 'database', 'database/memory', 'kv', 'transport', 'membership', 'pod', 'nest'],
};

describe('the dependencies between folders', () => {
  it('point one way: nest → pod → features → messaging → transport → common', () => {
    expect(wrongImports(importsOf(SOURCE), LAYERS)).toEqual([]);
  });

  it('are exactly those that the table allows', () => {
    expect(unusedPermissions(importsOf(SOURCE), LAYERS)).toEqual([]);
  });

  it.each([
    ['a driver that uses a feature', 'database/sqlite/driver.ts', 'kv/kv.store.js', 'may import only common'],
    ['a feature that uses the shell', 'election/elector.ts', 'nest/options.js', 'may import only common'],
    ['common that uses anything', 'common/clock.ts', 'database/lease-table.js', 'may import only itself'],
    ['the composition of a pod that uses the shell', 'pod/hedge-pod.ts', 'nest/options.js', 'may import only common'],
    ['messaging that uses a feature', 'messaging/messenger.ts', 'kv/kv.store.js', 'may import only common'],
    ['local storage that uses replication', 'spill/node/part.ts', 'spill/replication/messages.js', 'may import only'],
    ['a folder without a place', 'extras/thing.ts', 'common/clock.js', 'is in no layer'],
  ])('refuse %s', (_, from, to, complaint) => {
    expect(wrongImports([{ from, to }], LAYERS)).toEqual([expect.stringContaining(complaint)]);
  });
});

describe('a core (*.core.ts)', () => {
  it('uses no clock, timer, random number, promise, package, runner or service', () => {
    expect(impureCores(SOURCE)).toEqual([]);
  });

  it.each([
    ['a timer', 'setTimeout(() => undefined, 10);', 'setTimeout'],
    ['a timer by another name', "import { setTimeout as after } from 'timers';", 'imports timers'],
    ['the clock of the system', "import { systemClock } from '../common/clock.js';", 'systemClock'],
    ['the time', 'const now = Date.now();', 'Date.now'],
    ['a date of now', 'const now = new Date();', 'new Date()'],
    ['a random number', 'const id = Math.random();', 'Math.random'],
    ['a promise', 'const done = Promise.resolve();', 'Promise'],
    ['an async function', 'async function run() {}', 'async'],
    ['Nest', "import { Injectable } from '@nestjs/common';", 'imports @nestjs/common'],
    ['its runner', "import { LockManager } from './lock.runner.js';", 'imports ./lock.runner.js'],
  ])('may not use %s', (_, text, found) => {
    expect(impurities(text)).toContain(found);
  });
});

describe('a generic layer', () => {
  it.each(['transport', 'messaging', 'streams'])('%s names no kind of request: features register theirs', (layer) => {
    expect(requestKindsIn(SOURCE, layer)).toEqual([]);
  });

  it.each([
    ['a kind', 'if (kind === RequestKind.REQUEST_KIND_KV_PUT) return;'],
    ['a kind by its text', "const put = RequestKind['REQUEST_KIND_KV_PUT'];"],
  ])('may not name %s', (_, text) => {
    expect(requestKinds(text)).toEqual(['REQUEST_KIND_KV_PUT']);
  });
});

describe('a folder', () => {
  it.each(['hedge', 'spanner-emulator'])('of %s has at most 15 source files', (library) => {
    expect(crowdedFolders(resolve('libs', library, 'src'), 15)).toEqual([]);
  });
});

describe('Nest', () => {
  const shell = ['nest', 'testing'];

  it('is imported by nest/ and testing/ only', () => {
    expect(nestOutsideOf(shell, packagesOf(SOURCE))).toEqual([]);
  });

  it('may not be imported by the engine', () => {
    expect(nestOutsideOf(shell, [{ from: 'pod/hedge-pod.ts', to: '@nestjs/common' }])).toEqual([
      'pod/hedge-pod.ts imports @nestjs/common: only nest and testing may import Nest',
    ]);
  });
});
