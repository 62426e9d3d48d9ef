import { describe, expect, it } from '@jest/globals';
import { resolve } from 'node:path';
import {
  crowdedFolders,
  impureNames,
  importsOf,
  packagesOf,
  unusedPermissions,
  wrongImports,
  type Layers,
} from './imports.js';

const SOURCE = resolve('libs/hedge/src');

/** What each folder imports. A folder inside of another has a line of its own where less is allowed. */
const LAYERS: Layers = {
  common: [],
  wire: [],
  database: ['common'],
  'database/memory': ['common', 'database'],
  'database/sqlite': ['common', 'database'],
  'database/spanner': ['common', 'database'],
  transport: ['common', 'wire'],
  messaging: ['common', 'wire', 'transport'],
  lease: ['common', 'database'],
  streams: ['common', 'wire', 'transport', 'messaging'],
  election: ['common', 'wire', 'database', 'transport', 'messaging', 'lease', 'streams'],
  membership: ['common', 'wire', 'database', 'transport', 'messaging', 'streams'],
  kv: ['common', 'wire', 'database', 'messaging'],
  locks: ['common', 'database', 'transport', 'messaging', 'lease'],
  semaphores: ['common', 'wire', 'database', 'messaging'],
  'spill/records': ['common'],
  'spill/node': ['common', 'spill/records'],
  spill: ['common', 'wire', 'transport', 'messaging', 'membership', 'spill/records', 'spill/node'],
  jobs: ['common', 'database', 'messaging', 'election'],
  pod: [
    'common',
    'wire',
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
    'spill',
    'jobs',
    'nest',
  ],
  nest: [
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
    'spill/node',
    'spill',
    'jobs',
    'pod',
  ],
  'nest/health': ['pod'],
  cli: ['common', 'database/spanner'],
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
    'spill',
    'jobs',
    'pod',
    'nest',
  ],
  testing: ['common', 'wire', 'database', 'database/memory', 'transport', 'membership', 'pod', 'nest'],
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
    ['a folder without a place', 'extras/thing.ts', 'common/clock.js', 'is in no layer'],
  ])('refuse %s', (_, from, to, complaint) => {
    expect(wrongImports([{ from, to }], LAYERS)).toEqual([expect.stringContaining(complaint)]);
  });
});

describe('a core (*.core.ts)', () => {
  it('uses no clock, timer, random number, promise or package', () => {
    expect(impureNames(SOURCE)).toEqual([]);
  });
});

describe('a folder', () => {
  it('has at most 15 source files', () => {
    expect(crowdedFolders(SOURCE, 15)).toEqual([]);
  });
});

describe('Nest', () => {
  it('is imported by nest/ and testing/, and by the logger alone elsewhere', () => {
    const importers = packagesOf(SOURCE)
      .filter(({ name }) => name.startsWith('@nestjs/'))
      .map(({ from }) => from)
      .filter((from) => !/^(nest|testing)\//.test(from));
    expect([...new Set(importers)].sort()).toEqual(['common/line-logger.ts', 'transport/handshake/refusal-log.ts']);
  });
});
