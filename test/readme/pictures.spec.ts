import { describe, expect, it } from '@jest/globals';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path/posix';
import { ALL_PAGES } from './pages.js';

interface Picture {
  readonly page: string;
  readonly alt: string;
  readonly path: string;
}

const PICTURES = ALL_PAGES.flatMap((page): Picture[] =>
  [...readFileSync(page, 'utf8').matchAll(/!\[([^\]]*)\]\(([^)]+)\)/g)].map(([, alt, file]) => ({
    page,
    alt: alt!,
    path: join(dirname(page), file!),
  })),
);

const FOLDER = 'docs/images';
const FILES = readdirSync(FOLDER).map((name) => `${FOLDER}/${name}`);

describe('the pictures of the pages', () => {
  it.each(['metrics', 'tracing', 'dashboard', 'command-line'])('docs/%s.md has one', (page) => {
    expect(PICTURES.filter((picture) => picture.page === `docs/${page}.md`)).not.toEqual([]);
  });

  it.each(PICTURES)('$path has a description for readers who do not see it', ({ alt }) => {
    expect(alt.split(' ').length).toBeGreaterThan(5);
  });

  it('are exactly the files of their folder', () => {
    expect([...new Set(PICTURES.map(({ path }) => path))].sort()).toEqual([...FILES].sort());
  });

  it.each(FILES)('%s is smaller than 150 KB', (file) => {
    expect(statSync(file).size).toBeLessThan(150 * 1_024);
  });
});
