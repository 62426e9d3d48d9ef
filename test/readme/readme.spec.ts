import { describe, expect, it } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { USER_PAGES } from './pages.js';
import { refreshed, region, typescriptBlocks } from './snippets.js';

/** Files that the type check compiles, or that `test/packaging` runs. So a block that equals one of them compiles. */
const SOURCES = /^(test\/(readme|proof)|test\/packaging\/fixtures|examples|apps\/demo\/src)\//;

const read = (file: string): string => readFileSync(file, 'utf8');
const blocks = USER_PAGES.flatMap((page) => typescriptBlocks(read(page)).map((block) => ({ page, ...block })));

describe('the code on the pages for users', () => {
  it('is on the pages that show how to use the library', () => {
    expect(blocks.length).toBeGreaterThan(32);
    const pages = new Set(blocks.map(({ page }) => page));
    const features = [
      'election',
      'messages',
      'streams',
      'key-value',
      'locks',
      'semaphores',
      'jobs',
      'spill',
      'testing',
    ];
    expect(features.map((name) => `docs/${name}.md`).filter((page) => !pages.has(page))).toEqual([]);
    expect(blocks.filter(({ page }) => page === 'README.md').length).toBeGreaterThan(2);
    expect(blocks.filter(({ page }) => page === 'docs/testing.md').length).toBeGreaterThan(3);
  });

  it.each(blocks)('is real code in $page, line $line: $source', ({ source, code }) => {
    expect(source).toMatch(SOURCES);
    const [file = '', name] = source!.split('#');
    expect(code).toBe(region(read(file), name));
  });

  it('includes every example in test/readme', () => {
    const files = readdirSync('test/readme').filter((name) => name.endsWith('.ts') && name !== 'readme.spec.ts');
    const regions = files.flatMap((name) =>
      [...read(`test/readme/${name}`).matchAll(/^\s*\/\/ #region ([\w-]+)$/gm)].map(
        ([, regionName]) => `test/readme/${name}#${regionName}`,
      ),
    );
    expect(regions.length).toBeGreaterThan(20);
    const shown = new Set(blocks.map(({ source }) => source));
    const wholeFiles = ['app.module', 'orders.controller', 'main', 'orders.spec'].map(
      (name) => `test/readme/${name}.ts`,
    );
    expect([...wholeFiles, ...regions].filter((source) => !shown.has(source))).toEqual([]);
  });
});

function page(one: string, two: string): string {
  return `<!-- a.ts#one -->\n\n\`\`\`ts\n${one}\`\`\`\n\n\`\`\`sh\nls\n\`\`\`\n\n<!-- a.ts#two -->\n\`\`\`ts\n${two}\`\`\`\n`;
}

describe('the reader of code blocks', () => {
  it('sees a block that differs from its file', () => {
    const [block] = typescriptBlocks('<!-- a.ts#one -->\n```ts\nconst one = 1;\n```\n');
    expect(block).toEqual({ source: 'a.ts#one', code: 'const one = 1;', line: 2 });
    expect(region('  // #region one\n  const one = 2;\n  // #endregion\n', 'one')).toBe('const one = 2;');
  });

  it('sees a block without a file', () => {
    expect(typescriptBlocks('text\n\n```ts\nconst one = 1;\n```\n')[0]?.source).toBeUndefined();
  });

  it('fails for a region that does not exist', () => {
    expect(() => region('// #region one\n// #endregion\n', 'two')).toThrow('no region two');
  });

  it('replaces each block by the present contents of its file, and changes nothing else', () => {
    const file = '// #region one\n1;\n1;\n// #endregion\n// #region two\n2;\n// #endregion\n';
    expect(refreshed(page('', 'old;\nold;\n'), () => file)).toBe(page('1;\n1;\n', '2;\n'));
  });
});
