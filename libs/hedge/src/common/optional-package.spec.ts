import { describe, expect, it } from '@jest/globals';
import { createRequire } from 'node:module';
import { loadProblem } from './optional-package.js';

function failure(load: () => unknown): unknown {
  try {
    return load();
  } catch (error) {
    return error;
  }
}

describe('loadProblem', () => {
  it('says how to install a missing package', () => {
    const error = failure(() => createRequire(import.meta.url)('no-such-package'));
    expect(loadProblem('no-such-package', error)).toBe(
      'The package no-such-package is not installed. Run: npm i no-such-package.',
    );
  });

  it('does not ask to install a package whose own dependency is missing', () => {
    const error = Object.assign(new Error("Cannot find module 'its-binary'\nRequire stack:"), {
      code: 'MODULE_NOT_FOUND',
    });
    expect(loadProblem('lz4-napi', error)).toMatch("cannot be loaded: Cannot find module 'its-binary'. Install it");
  });

  it('names the bundler when the location of the library is unknown', () => {
    const error = failure(() => createRequire(undefined as unknown as string)('libsql'));
    expect(loadProblem('libsql', error)).toMatch('Keep nestjs-hedge and libsql external');
  });

  it('names the flag when native add-ons are forbidden', () => {
    const error = Object.assign(new Error('disabled'), { code: 'ERR_DLOPEN_DISABLED' });
    expect(loadProblem('lz4-napi', error)).toMatch('--allow-addons');
  });
});
