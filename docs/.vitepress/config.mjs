// The site of the documentation: the Markdown pages of the repository, at the paths that they have there.
// `npm run docs` writes docs/reference, the API reference, and then builds the site.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';
import { referenceSidebar, sidebar } from './sidebar.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const navigation = JSON.parse(readFileSync(join(root, 'docs/reference/navigation.json'), 'utf8'));
const WITHOUT_PAGES = ['.*', 'apps', 'docs/api', 'libs/hedge', 'node_modules', 'proto', 'scripts', 'test'];

export default defineConfig({
  title: 'Hedge for NestJS',
  description: 'Leader election, messages, locks and a consistent log for the pods of one NestJS Deployment',
  lang: 'en',
  srcDir: '..',
  srcExclude: WITHOUT_PAGES.map((folder) => `${folder}/**`),
  rewrites: { 'README.md': 'index.md' },
  cacheDir: '../node_modules/.cache/vitepress',
  markdown: {
    anchor: { slugify: gitHubSlug },
    config: (md) => {
      resolveLinks(md);
      drawDiagrams(md);
    },
  },
  vite: { build: { chunkSizeWarningLimit: 4_096 } }, // the index of the search
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Quick start', link: '/#quick-start' },
      { text: 'Options', link: '/docs/options' },
      { text: 'API', link: '/docs/reference/', activeMatch: '^/docs/reference/' },
      { text: 'Changes', link: '/CHANGELOG' },
    ],
    sidebar: {
      '/docs/reference/': [{ text: 'Back to all pages', link: '/' }, ...referenceSidebar(navigation)],
      '/': sidebar,
    },
  },
});

/** The anchor that GitHub gives to a heading, so that a link to it works in the repository and on the site. */
function gitHubSlug(heading) {
  return heading
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');
}

/** README.md is the start page, docs/reference stands for docs/api, and a link to another file becomes plain text. */
function resolveLinks(md) {
  md.core.ruler.push('repository-links', ({ tokens, env }) => {
    const inline = tokens.flatMap(({ children }) => children ?? []);
    for (const [index, token] of inline.entries()) {
      if (token.type !== 'link_open') continue;
      const href = token.attrGet('href');
      if (/^([a-z]+:|#)/.test(href)) continue;
      const [path, anchor] = href.split('#');
      const target = posix.join(posix.dirname(env.relativePath), path);
      if (target === 'README.md') token.attrSet('href', anchor === undefined ? '/' : `/#${anchor}`);
      else if (target.startsWith('docs/api/')) token.attrSet('href', '/docs/reference/index.md');
      else if (!target.endsWith('.md') && existsSync(join(root, target))) {
        makeText(token);
        makeText(inline.find(({ type }, place) => place > index && type === 'link_close'));
      }
    }
  });
}

/** A code block in the language `mermaid` becomes the component of theme/MermaidDiagram.vue. */
function drawDiagrams(md) {
  const { fence } = md.renderer.rules;
  md.renderer.rules.fence = (tokens, index, ...rest) =>
    tokens[index].info.trim() === 'mermaid'
      ? `<MermaidDiagram source="${encodeURIComponent(tokens[index].content)}" />`
      : fence(tokens, index, ...rest);
}

function makeText(token) {
  Object.assign(token, { type: 'text', tag: '', attrs: null, content: '' });
}
