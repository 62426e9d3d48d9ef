import { describe, expect, it } from '@jest/globals';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { anchors, brokenLinks, relativeLinks } from './links.js';
import { ALL_PAGES } from './pages.js';

const onDisk = (path: string): string | undefined => {
  if (!existsSync(path)) return undefined;
  return statSync(path).isDirectory() ? '' : readFileSync(path, 'utf8');
};

describe('the relative links', () => {
  it.each(ALL_PAGES)('of %s lead to files and headings', (page) => {
    expect(brokenLinks(page, onDisk)).toEqual([]);
  });

  it('of the README lead to every page in docs', () => {
    const linked = relativeLinks(readFileSync('README.md', 'utf8')).map(({ target }) => target.split('#')[0]);
    expect(ALL_PAGES.filter((page) => page.startsWith('docs/') && !linked.includes(page))).toEqual([]);
  });
});

describe('the reader of links', () => {
  const files: Record<string, string> = {
    'README.md': '# One\n\n[a](docs/a.md#two-words) [b](docs/b.md)\n[c](#one) [d](#none) `[e](e.md)` [f](https://f/)',
    'docs/a.md': '# A\n\n## Two `words`\n\n[up](../README.md#one) [gone](a.md#three)\n\n```sh\n# three\n```\n',
  };
  const read = (path: string): string | undefined => files[path];

  it('finds links without a file or a heading', () => {
    expect(brokenLinks('README.md', read)).toEqual([
      'README.md:3: docs/b.md: there is no docs/b.md',
      'README.md:4: #none: README.md has no heading #none',
    ]);
    expect(brokenLinks('docs/a.md', read)).toEqual(['docs/a.md:5: a.md#three: docs/a.md has no heading #three']);
  });

  it('gives headings the anchors of GitHub', () => {
    expect(anchors("# Node's `--permission`, and more\n## Same\n## Same\n### With [a link](x.md)")).toEqual([
      'nodes---permission-and-more',
      'same',
      'same-1',
      'with-a-link',
    ]);
  });
});
