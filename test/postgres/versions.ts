// npm run test:postgres             runs the tests of the PostgreSQL driver on each version that it supports
// npm run test:postgres -- 13 17    on these only
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { binariesOf, PLATFORM_PACKAGE } from '../../scripts/postgres-server.js';

/** The newest package of each version. */
const PACKAGES: Readonly<Record<string, string>> = {
  13: '13.23.0-beta.16',
  14: '14.23.0-beta.17',
  15: '15.18.0-beta.17',
  16: '16.14.0-beta.17',
  17: '17.10.0-beta.17',
  18: '18.4.0-beta.17',
};

const asked = process.argv.slice(2);
const unknown = asked.filter((version) => !Object.hasOwn(PACKAGES, version));
if (unknown.length > 0) {
  console.error(`There is no PostgreSQL ${unknown.join(', ')}. Use some of: ${Object.keys(PACKAGES).join(', ')}`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'hedge-postgres-versions-'));
// The servers do not run as root, and their user reads these files.
chmodSync(folder, 0o711);
const failed: string[] = [];
try {
  for (const version of asked.length > 0 ? asked : Object.keys(PACKAGES)) {
    if (!runOn(version)) failed.push(version);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed.length === 0 ? 'passed on all' : `FAILED on PostgreSQL ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;

function runOn(version: string): boolean {
  console.log(`PostgreSQL ${version}, ${PLATFORM_PACKAGE}@${PACKAGES[version]}`);
  const prefix = join(folder, version);
  const flags = ['--prefix', prefix, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  execFileSync('npm', ['install', ...flags, `${PLATFORM_PACKAGE}@${PACKAGES[version]}`], { stdio: 'inherit' });
  const binaries = binariesOf(join(prefix, 'node_modules', PLATFORM_PACKAGE));
  const env = { ...process.env, HEDGE_POSTGRES_BIN: binaries };
  return (
    spawnSync('npm', ['run', '-s', 'jest', '--', '--runInBand', 'test/postgres'], { env, stdio: 'inherit' }).status ===
    0
  );
}
