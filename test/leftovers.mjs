// Checks that a test run leaves nothing behind: no processes, no files in its temp folder, no changes in the working
// tree.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../scripts/workspace.mjs';

const MARK = 'HEDGE_TEST_RUN';

/**
 * Isolates one run: every process that starts with `env` carries a mark and has its own temp folder, so that its
 * leftovers are distinguished from other work on the same machine.
 */
export function startWatch() {
  const temp = mkdtempSync(join(tmpdir(), 'hedge-test-'));
  // PostgreSQL does not run as root. Its files in this folder then belong to another user, who needs access to them.
  chmodSync(temp, 0o711);
  const before = new Set(workingTreeChanges());
  return {
    env: { ...process.env, TMPDIR: temp, [MARK]: temp, NODE_COMPILE_CACHE: join(root, 'node_modules/.cache/compile') },
    processes: () => settled(() => markedProcesses(`${MARK}=${temp}`)),
    // Caches of tsx and Node belong to the tools, not to the tests.
    files: () => entries(temp).filter((name) => !/^(tsx-\d+|node-compile-cache)$/.test(name)),
    changes: () => workingTreeChanges().filter((line) => !before.has(line)),
    end: () => rmSync(temp, { recursive: true, force: true }),
  };
}

/** Pids and command lines, where /proc shows the environment of a process (Linux). Empty on other systems. */
function markedProcesses(mark) {
  return entries('/proc')
    .filter((pid) => /^\d+$/.test(pid) && text(`/proc/${pid}/environ`).split('\0').includes(mark))
    .map((pid) => `${pid} ${text(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()}`);
}

/** Gives processes that are ending three seconds to exit. */
function settled(find) {
  const tick = new Int32Array(new SharedArrayBuffer(4));
  let found = find();
  for (let tries = 0; found.length > 0 && tries < 30; tries += 1) {
    Atomics.wait(tick, 0, 0, 100);
    found = find();
  }
  return found;
}

function workingTreeChanges() {
  const { stdout } = spawnSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' });
  return (stdout ?? '').split('\n').filter((line) => line !== '');
}

/** Empty when the process is gone or belongs to another user. */
function entries(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function text(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
