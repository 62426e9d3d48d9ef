// Jest runs the TypeScript sources as ES modules: @swc/jest compiles them, and the
// "hedge-source" export condition makes `nestjs-hedge` mean libs/hedge/src instead of its build.
export default {
  testEnvironment: 'node',
  testEnvironmentOptions: { customExportConditions: ['hedge-source', 'node', 'node-addons'] },
  roots: ['<rootDir>/libs', '<rootDir>/apps', '<rootDir>/test'],
  testPathIgnorePatterns: ['/node_modules/', '/dist/', '/packaging/fixtures/'],
  modulePathIgnorePatterns: ['/dist/', '/packaging/fixtures/'],
  // A worker keeps the modules of the files that it has run.
  workerIdleMemoryLimit: '1.5GB',
  testTimeout: 120_000, // a busy machine is no failure
  testSequencer: '<rootDir>/test/sequencer.mjs',
  testRegex: '\\.spec\\.ts$',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
        },
        module: { type: 'es6' },
      },
    ],
  },
};
