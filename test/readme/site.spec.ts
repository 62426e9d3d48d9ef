import { describe, expect, it } from '@jest/globals';
import { referenceSidebar, sidebar } from '../../docs/.vitepress/sidebar.mjs';
import { ALL_PAGES } from './pages.js';

describe('the menu of the site', () => {
  it('contains exactly the pages of the repository, each once', () => {
    const linked = sidebar.flatMap(({ items }) => items.map(({ link }) => link));
    // npm shows libs/hedge/README.md; the site has the README of the repository instead.
    const pages = ALL_PAGES.filter((page) => page !== 'libs/hedge/README.md').map((page) =>
      page === 'README.md' ? '/' : `/${page}`,
    );
    expect([...linked].sort()).toEqual([...pages, '/docs/reference/index.md'].sort());
  });

  it('of the API reference has a group for each entry point of the package', () => {
    const lock = { title: 'LockService', path: 'classes/LockService.md' };
    const spanner = { title: 'spanner', path: 'modules/spanner.md', children: [{ title: 'Functions', children: [] }] };
    const children = [{ title: 'Classes', children: [lock] }, spanner];
    const groups = referenceSidebar([{ title: 'nestjs-hedge', path: 'modules/index.md', children }]);
    expect(groups).toMatchObject([
      {
        text: 'nestjs-hedge',
        link: '/docs/reference/modules/index.md',
        items: [{ text: 'Classes', items: [{ text: 'LockService', link: '/docs/reference/classes/LockService.md' }] }],
      },
      { text: 'nestjs-hedge/spanner', link: '/docs/reference/modules/spanner.md', items: [{ text: 'Functions' }] },
    ]);
  });
});
