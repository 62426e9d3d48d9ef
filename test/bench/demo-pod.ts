import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort } from '../../scripts/free-port.js';
import { withFolder } from './cluster.js';

const MAIN = fileURLToPath(new URL('../../apps/demo/dist/main.js', import.meta.url));
const SETTLE_MS = 5_000;

/** Resident memory in bytes of an idle pod of the built demo app, which leads a separate group. */
export function idleDemoPodBytes(): Promise<number> {
  return withFolder(async (folder) => {
    const [http, grpc] = [await freePort(), await freePort()];
    const settings = {
      PORT: String(http),
      HEDGE_ADDRESS: `127.0.0.1:${grpc}`,
      HEDGE_SQLITE_FILE: join(folder, 'hedge.db'),
    };
    const pod = spawn(process.execPath, [MAIN], { env: { ...process.env, ...settings }, stdio: 'ignore' });
    try {
      await ready(http);
      await sleep(SETTLE_MS);
      const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pod.pid)]);
      return Number(stdout) * 1024;
    } finally {
      if (pod.exitCode === null && pod.kill('SIGKILL')) await once(pod, 'exit');
    }
  });
}

async function ready(port: number): Promise<void> {
  for (const end = Date.now() + 30_000; Date.now() < end; await sleep(100)) {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    if (answer?.ok === true) return;
  }
  throw new Error('the demo pod was not ready within 30 s');
}
