// Installs and builds the missing parts before a command of this repository runs. Plain Node, because on a fresh clone
// no package is installed.
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { setPriority } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * Installs the locked packages, unless all of them are installed in their locked versions. It does not use `npm ci`, which
 * refuses a lockfile without the optional packages of every other platform.
 */
export function ensureInstalled() {
  // Only errors: otherwise the output begins with dozens of warnings about the engines of development tools.
  if (!isInstalled()) run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error']);
}

/** Builds the library and the demo, unless the build is up to date. */
export function ensureBuilt() {
  if (!isBuilt()) run('npm', ['run', 'build']);
}

/** Whether the build of the library and the demo is newer than every source. */
export function isBuilt() {
  const built = ['libs/hedge/dist/index.js', 'apps/demo/dist/main.js'].map((file) => modified(join(root, file)));
  const sources = ['libs/hedge/src', 'apps/demo/src', 'tsconfig.json', 'nest-cli.json', 'package-lock.json'];
  return Math.min(...built) > Math.max(...sources.map((name) => newest(join(root, name))));
}

function isInstalled() {
  const locked = packages('package-lock.json');
  const installed = packages('node_modules/.package-lock.json');
  // Optional packages are for other platforms; the entry '' is the repository itself.
  return Object.entries(locked ?? {}).every(
    ([path, { version, optional }]) => path === '' || optional === true || installed?.[path]?.version === version,
  );
}

function packages(lockfile) {
  try {
    return JSON.parse(readFileSync(join(root, lockfile), 'utf8')).packages;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The latest modification of the files under a path. */
function newest(path) {
  if (!statSync(path).isDirectory()) return modified(path);
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), 0);
}

function modified(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** Runs a command of the repository in the foreground. Throws unless it succeeds. */
export function run(command, args, env = process.env) {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  if (status === 0) return;
  throw new Error(`${[command, ...args].join(' ')}: ${error?.message ?? signal ?? `exit code ${status}`}`);
}

/**
 * Runs a command of the repository, and resolves with its exit code, or null when a signal ended it. It uses the
 * stdin of this process. `stdout` is as in `spawn`. `priority` is as in `os.setPriority`, for the command and its children.
 * With `onStderr`, stderr is a pipe, and `onStderr` receives its text.
 */
export function start(command, args, { env = process.env, stdout = 'inherit', priority, onStderr } = {}) {
  return new Promise((resolve, reject) => {
    const stdio = ['inherit', stdout, onStderr === undefined ? 'inherit' : 'pipe'];
    const child = spawn(command, args, { cwd: root, env, stdio });
    if (priority !== undefined && child.pid !== undefined) setPriority(child.pid, priority);
    child.stderr?.setEncoding('utf8').on('data', onStderr);
    child.once('error', reject);
    child.once('exit', (code) => {
      const end = () => {
        clearTimeout(late);
        child.stderr?.destroy();
        resolve(code);
      };
      // A process that the command left behind may keep the pipe open forever.
      const late = setTimeout(end, 1_000);
      child.once('close', end);
    });
  });
}
