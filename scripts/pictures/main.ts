/**
 * `npm run docs:pictures`: makes the pictures of the pages anew, from live pods: docs/images. With names of pages, only
 * theirs: `npm run docs:pictures -- tracing`. Needs Debian's packages `chromium` and `prometheus`. Look at each picture.
 */
import { writeFileSync } from 'node:fs';
import { ensureBuilt } from '../workspace.mjs';
import { drawCommandLine } from './command-line.js';
import { photographDashboard } from './dashboard.js';
import { photographMetrics } from './metrics.js';
import { drawTrace } from './tracing.js';

const PAGES: Readonly<Record<string, () => Promise<Readonly<Record<string, string | Buffer>>>>> = {
  'command-line': drawCommandLine,
  dashboard: photographDashboard,
  metrics: photographMetrics,
  tracing: drawTrace,
};

const asked = process.argv.slice(2);
const unknown = asked.find((page) => !(page in PAGES));
if (unknown !== undefined) {
  console.error(`There are no pictures of "${unknown}". The pages are: ${Object.keys(PAGES).join(', ')}`);
  process.exit(2);
}
ensureBuilt();
for (const page of asked.length > 0 ? asked : Object.keys(PAGES)) {
  for (const [file, content] of Object.entries(await PAGES[page]!())) {
    writeFileSync(`docs/images/${file}`, content);
    console.log(`docs/images/${file}: ${Math.ceil(content.length / 1_024)} KB`);
  }
}
