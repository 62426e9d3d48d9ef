/** `npm run docs:snippets`: puts the present code of the compiled files into the code blocks of the pages for users. */
import { readFileSync, writeFileSync } from 'node:fs';
import { USER_PAGES } from '../test/readme/pages.js';
import { refreshed } from '../test/readme/snippets.js';

const read = (file: string): string => readFileSync(file, 'utf8');

for (const page of USER_PAGES) {
  const before = read(page);
  const after = refreshed(before, read);
  if (after === before) continue;
  writeFileSync(page, after);
  console.log(`refreshed ${page}`);
}
