import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

const README = read('README.md');

/** The lines of the table of features: the feature and its tests. */
const LINES = [...README.split('| Tests')[1]!.matchAll(/^\| (?!-)(.+?) +\| (`.+?) +\|$/gm)].map(
  ([, feature, tests]) => [feature!, testsOf(tests!)] as const,
);

/** `a.spec.ts` › "begins", "or so"; `src/b.spec.ts` › "begins" */
function testsOf(cell: string): { file: string; titles: string[] }[] {
  return cell.split('; ').map((part) => {
    const [, name = ''] = /^`([\w./-]+)` › "/.exec(part) ?? [];
    const titles = [...part.matchAll(/"([^"]+)"/g)].map(([, title]) => title!);
    return { file: name.includes('/') ? name : `test/${name}`, titles };
  });
}

describe('the README', () => {
  it('names tests for each line', () => {
    expect(LINES.length).toBeGreaterThan(20);
    for (const [feature, tests] of LINES) {
      expect([feature, tests.filter(({ file, titles }) => file.endsWith('.spec.ts') && titles.length > 0)]).toEqual([
        feature,
        tests,
      ]);
    }
  });

  it.each(LINES)('names tests that exist: %s', (_feature, tests) => {
    for (const { file, titles } of tests) {
      const source = read(file).replaceAll(/\(\s+/g, '(');
      for (const title of titles) {
        const begins = ["'", '"', '`'].some((quote) => source.includes(`(${quote}${title}`));
        expect([file, title, begins]).toEqual([file, title, true]);
      }
    }
  });

  it('has a line for each file of tests', () => {
    const files = readdirSync(new URL('.', import.meta.url)).filter((file) => file.endsWith('.spec.ts'));
    const named = new Set(LINES.flatMap(([, tests]) => tests.map(({ file }) => file)));
    const missing = files.filter((file) => file !== 'readme.spec.ts' && !named.has(`test/${file}`));
    expect(missing).toEqual([]);
  });

  it('lists exactly the functions that exist, and a test calls each', () => {
    const listed = /^Functions: (.*)\.$/m.exec(README)![1]!.split(', ');
    const table = read('src/sql/functions.ts').split('const FUNCTIONS')[1]!;
    const existing = [...table.matchAll(/^ {2}([A-Z_]+): /gm)].map(([, name]) => name!);
    expect(listed).toEqual([...existing, 'CAST'].sort());
    const tests = ['expressions', 'queries', 'dml', 'transactions'].map((name) => read(`test/${name}.spec.ts`)).join();
    expect(listed.filter((name) => !new RegExp(`\\b${name}\\(`).test(tests))).toEqual([]);
  });
});
