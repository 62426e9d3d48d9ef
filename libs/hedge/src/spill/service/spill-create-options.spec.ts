import { describe, expect, it } from '@jest/globals';
import { bytesOf, limitsOf } from './spill-create-options.js';

describe('the size of memory or disk', () => {
  it.each([
    [0, 0],
    [1_048_576, 1_048_576],
    ['512MB', 512 * 2 ** 20],
    ['1.5 GB', 1.5 * 2 ** 30],
    ['64KiB', 65_536],
    ['2g', 2 ** 31],
    ['100', 100],
    ['7B', 7],
  ])('%p is %d bytes', (size, bytes) => {
    expect(bytesOf(size)).toBe(bytes);
  });

  it.each([-1, 1.5, Number.NaN, Infinity, '', 'MB', '-1MB', '1 apple', '1e3', '9999999TB', null, undefined, {}])(
    '%p is not valid',
    (size) => {
      expect(bytesOf(size)).toBeUndefined();
    },
  );

  it('of the wrong form fails with the option and the fix', () => {
    expect(() => limitsOf('s', { memoryLimit: 'lots' })).toThrow(
      `memoryLimit of spilled data is "lots". Give whole bytes, or a text such as '512MB'.`,
    );
    expect(() => limitsOf('s', { diskLimit: 5n as unknown as number })).toThrow('diskLimit of spilled data is 5. Give');
  });
});
