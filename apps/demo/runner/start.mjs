// `npm run demo`: installs and builds what is missing, then hands over to main.ts.
import { ensureBuilt, ensureInstalled } from '../../../scripts/workspace.mjs';

try {
  ensureInstalled();
  ensureBuilt();
} catch (error) {
  console.error(`The demo cannot start. ${error.message}`);
  process.exit(1);
}
const { register } = await import('tsx/esm/api');
register();
await import('./main.ts');
