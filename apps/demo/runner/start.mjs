// `npm run demo`: installs missing packages, then runs main.ts.
import { ensureInstalled } from '../../../scripts/workspace.mjs';

try {
  ensureInstalled();
} catch (error) {
  console.error(`The demo cannot start. ${error.message}`);
  process.exit(1);
}
const { register } = await import('tsx/esm/api');
register();
await import('./main.ts');
