import { readdirSync } from 'node:fs';

const inFolder = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => (folder === '.' ? name : `${folder}/${name}`));

/** Pages for users. Their TypeScript is compiled: each block shows a region of a file. */
export const USER_PAGES: readonly string[] = ['README.md', 'libs/hedge/README.md', ...inFolder('docs')];

/** Every page whose links are checked. */
export const ALL_PAGES: readonly string[] = [
  ...new Set([...USER_PAGES, ...inFolder('.'), 'libs/spanner-emulator/README.md', 'examples/README.md']),
];
