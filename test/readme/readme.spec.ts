import { describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { region, typescriptBlocks } from './snippets.js';

// The type check of the repository compiles the files in this folder, and `test/packaging` runs those of its fixtures:
// so what equals them compiles.
describe.each(['README.md', 'docs/testing.md'])('%s', (page) => {
  const blocks = typescriptBlocks(readFileSync(page, 'utf8'));

  it('has code', () => {
    expect(blocks.length).toBeGreaterThan(3);
  });

  it.each(blocks)('shows real code in line $line: $source', ({ source, code }) => {
    expect(source).toMatch(/^(test\/readme|test\/packaging\/fixtures|apps\/demo\/src)\//);
    const [file = '', name] = source!.split('#');
    expect(code).toBe(region(readFileSync(file, 'utf8'), name));
  });
});

describe('the reader of code blocks', () => {
  it('sees a block that differs from its file', () => {
    const [block] = typescriptBlocks('<!-- a.ts#one -->\n```ts\nconst one = 1;\n```\n');
    expect(block).toEqual({ source: 'a.ts#one', code: 'const one = 1;', line: 2 });
    expect(region('  // #region one\n  const one = 2;\n  // #endregion\n', 'one')).toBe('const one = 2;');
  });

  it('sees a block without a file', () => {
    expect(typescriptBlocks('text\n\n```ts\nconst one = 1;\n```\n')[0]?.source).toBeUndefined();
  });

  it('refuses a region that is not there', () => {
    expect(() => region('// #region one\n// #endregion\n', 'two')).toThrow('no region two');
  });
});
