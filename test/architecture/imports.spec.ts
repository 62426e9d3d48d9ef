import { describe, expect, it } from '@jest/globals';
import { resolve } from 'node:path';
import { importsOf, wrongImports, type Layers } from './imports.js';

const FEATURES = [
  'lease',
  'leader',
  'cluster',
  'messaging',
  'streams',
  'kv',
  'locks',
  'semaphore',
  'spill',
  'spill/records',
  'spill/node',
  'jobs',
];
const BELOW_FEATURES = ['transport', 'backend', 'common'];

const LAYERS: Layers = {
  common: [],
  backend: ['common'],
  // A layer each, so that no driver imports another.
  'backends/sqlite': ['backend', 'common'],
  'backends/spanner': ['backend', 'common'],
  'backends/memory': ['backend', 'common'],
  transport: ['backend', 'common'],
  messaging: BELOW_FEATURES,
  lease: ['backend', 'common'],
  streams: ['messaging', ...BELOW_FEATURES],
  leader: ['lease', 'messaging', 'streams', ...BELOW_FEATURES],
  cluster: ['messaging', 'streams', 'leader', ...BELOW_FEATURES],
  kv: ['messaging', 'leader', 'cluster', ...BELOW_FEATURES],
  locks: ['lease', 'messaging', ...BELOW_FEATURES],
  semaphore: ['messaging', ...BELOW_FEATURES],
  'spill/records': ['common'],
  'spill/node': ['spill/records', 'common'],
  spill: ['messaging', 'leader', 'cluster', 'spill/records', 'spill/node', ...BELOW_FEATURES],
  jobs: ['messaging', 'leader', ...BELOW_FEATURES],
  module: [...FEATURES, ...BELOW_FEATURES],
  cli: ['backends/spanner', 'backend', 'common'],
  index: ['module', ...FEATURES, ...BELOW_FEATURES],
  health: ['module', ...FEATURES, ...BELOW_FEATURES],
  testing: ['module', ...FEATURES, ...BELOW_FEATURES, 'backends/memory'],
};

describe('the dependencies between folders', () => {
  it('point one way: module → features → transport, backend → common', () => {
    expect(wrongImports(importsOf(resolve('libs/hedge/src')), LAYERS)).toEqual([]);
  });

  it.each([
    ['a driver that uses a feature', 'backends/sqlite/driver.ts', 'kv/kv.store.js', 'may import only backend, common'],
    ['a feature that uses the module', 'leader/keeper.ts', 'module/options.js', 'may import only lease'],
    ['common that uses anything', 'common/clock.ts', 'backend/lease.js', 'may import only itself'],
    ['a folder without a place', 'extras/thing.ts', 'common/clock.js', 'is in no layer'],
  ])('refuse %s', (_, from, to, complaint) => {
    expect(wrongImports([{ from, to }], LAYERS)).toEqual([expect.stringContaining(complaint)]);
  });
});
