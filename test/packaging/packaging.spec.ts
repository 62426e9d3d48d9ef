import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const library = join(root, 'libs/hedge');
const fixtures = join(root, 'test/packaging/fixtures');
const MINUTES = 60_000;
/** In the folder of the app, which is removed, and not in the folder for temporary files. */
const JEST_CACHE = '--cacheDirectory=.jest-cache';
/** The flag of Node's permission model, which was experimental until Node 23.5. */
const PERMISSION = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission';

let temp: string;
let tarball: string;

/** Runs a tool. When it fails, the error contains its output, which has the reason. */
async function tool(cwd: string, command: string, ...args: string[]): Promise<string> {
  try {
    return (await run(command, args, { cwd, encoding: 'utf8' })).stdout;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}

/** Creates a folder with the files of the fixture, its packages from the registry, and the packed library. */
async function freshApp(name: string): Promise<string> {
  const app = join(temp, name);
  mkdirSync(app);
  cpSync(join(fixtures, name), app, { recursive: true });
  cpSync(join(fixtures, 'app.ts'), join(app, 'app.ts'));
  cpSync(join(fixtures, 'testing'), app, { recursive: true });
  await tool(app, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock', tarball);
  return app;
}

async function runApp(app: string): Promise<unknown> {
  const stdout = await tool(app, process.execPath, 'dist/app.js', join(app, 'hedge.db'));
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
}

const worked = {
  price: { total: 6, attempt: 1 },
  refused: 'HANDLER_FAILED',
  sum: 3,
  guarded: 'HANDLER_FAILED',
  jobAttempt: 1,
  streamed: [2, 4],
  flushed: [{ flushed: true }],
  value: 'first',
  spilled: 2,
  hooks: ['yes', 'has handed over', 'yes'],
  isLeaderAfterClose: false,
  health: 'up',
};

beforeAll(async () => {
  if (!existsSync(join(library, 'dist/index.js'))) throw new Error('The library is not built. Run: npm run build');
  temp = mkdtempSync(join(tmpdir(), 'hedge-packaging-'));
  const packed = JSON.parse(await tool(library, 'npm', 'pack', '--json', '--pack-destination', temp)) as unknown;
  const [{ filename }] = packed as [{ filename: string }];
  tarball = join(temp, filename);
}, 2 * MINUTES);

afterAll(() => rmSync(temp, { recursive: true, force: true }));

describe('the packed library', () => {
  it(
    'follows the rules of package publishing',
    async () => {
      await tool(root, 'npx', 'publint', 'run', tarball, '--strict');
    },
    MINUTES,
  );

  it(
    'has types for every entry and way to resolve it',
    async () => {
      await tool(root, 'npx', 'attw', tarball, '--format', 'ascii');
    },
    MINUTES,
  );

  it('contains the licence of the repository', async () => {
    expect(readFileSync(join(library, 'LICENSE'), 'utf8')).toBe(readFileSync(join(root, 'LICENSE'), 'utf8'));
    const files = await tool(temp, 'tar', 'tzf', tarball);
    expect(files).toMatch(/^package\/LICENSE$/m);
    expect(files).toMatch(/^package\/README\.md$/m);
    expect(files).not.toMatch(/\.spec\.|\/testing\/(certificates|recording-transport)\./);
  });

  it(
    'works in a fresh Nest 12 app of ES modules, with types, and in its tests and bundles',
    async () => {
      const app = await freshApp('nest-12-esm');
      await tool(app, 'npx', 'tsc', '-p', '.');
      expect(await runApp(app)).toEqual(worked);
      expect(await tool(app, 'npx', 'nestjs-hedge', 'schema')).toContain('CREATE TABLE');

      // The recipes of docs/testing.md.
      await tool(app, process.execPath, '--experimental-vm-modules', 'node_modules/jest/bin/jest.js', JEST_CACHE);
      await tool(app, 'npx', 'vitest', 'run');

      for (const [format, file] of [
        ['esm', 'bundle.mjs'],
        ['cjs', 'bundle.cjs'],
      ] as const) {
        const outfile = join('bundles', file);
        await tool(app, process.execPath, 'make-bundle.mjs', format, outfile, 'library inside');
        const database = join(app, 'bundled.db');
        await expect(tool(app, process.execPath, outfile, database)).rejects.toThrow(
          /Keep nestjs-hedge and libsql external/,
        );
        await tool(app, process.execPath, 'make-bundle.mjs', format, outfile, 'library external');
        expect(await tool(app, process.execPath, outfile, database)).toBe('put\n');
      }
      for (const [flags, missing] of [
        [[], '--allow-worker'],
        [['--allow-worker'], '--allow-addons'],
      ] as const) {
        const started = tool(
          app,
          process.execPath,
          PERMISSION,
          '--allow-fs-read=*',
          ...flags,
          'bundles/bundle.mjs',
          'bundled.db',
        );
        await expect(started).rejects.toThrow(missing);
      }
    },
    10 * MINUTES,
  );

  it(
    'works in a fresh Nest 11 app of CommonJS, with types in the new and the old module resolution, and in its tests',
    async () => {
      const app = await freshApp('nest-11-cjs');
      await tool(app, 'npx', 'tsc', '-p', '.');
      await tool(app, 'npx', 'tsc', '-p', 'tsconfig.node10.json');
      expect(await runApp(app)).toEqual(worked);

      // The recipes of docs/testing.md.
      await tool(app, 'npx', 'jest', '--config', 'ts-jest.config.cjs', JEST_CACHE);
      await tool(app, 'npx', 'jest', '--config', 'babel-jest.config.cjs', JEST_CACHE);
    },
    10 * MINUTES,
  );
});
