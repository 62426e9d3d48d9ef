/** `npm run docs:snippets`: puts the present code of the compiled files, and the tables of definitions, into the pages for users. */
import { readFileSync, writeFileSync } from 'node:fs';
import { withTable } from '../test/telemetry/tables.js';
import { USER_PAGES } from '../test/readme/pages.js';
import { refreshed } from '../test/readme/snippets.js';

const read = (file: string): string => readFileSync(file, 'utf8');

for (const page of USER_PAGES) {
  const before = read(page);
  const code = refreshed(before, read);
  const after = withTable(page, code);
  if (after === before) continue;
  writeFileSync(page, after);
  console.log(`refreshed ${page}`);
}
