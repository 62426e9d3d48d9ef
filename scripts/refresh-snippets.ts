/** `npm run docs:snippets`: puts the present code of the compiled files, and the table of metrics, into the pages for users. */
import { readFileSync, writeFileSync } from 'node:fs';
import { withMetricsTable } from '../test/telemetry/metrics-table.js';
import { USER_PAGES } from '../test/readme/pages.js';
import { refreshed } from '../test/readme/snippets.js';

const read = (file: string): string => readFileSync(file, 'utf8');

for (const page of USER_PAGES) {
  const before = read(page);
  const code = refreshed(before, read);
  const after = page === 'docs/metrics.md' ? withMetricsTable(code) : code;
  if (after === before) continue;
  writeFileSync(page, after);
  console.log(`refreshed ${page}`);
}
