import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isBuilt } from '../../scripts/workspace.mjs';
import { compileScript } from '../compiled-script.js';

/** A pod of `pod.ts` in a separate process. */
export class Pod {
  readonly #folder: string | undefined;

  private constructor(
    readonly process: ChildProcess,
    /** `http://127.0.0.1:41234` */
    readonly url: string,
    folder: string | undefined,
  ) {
    this.#folder = folder;
  }

  /**
   * @param folder of the database. Default: one for this pod alone.
   * @param collector the URL to which the pod sends its spans. Default: it has no SDK.
   */
  static async start(folder?: string, collector = ''): Promise<Pod> {
    if (!isBuilt()) throw new Error('The pod runs the build, and it is older than the sources. Run: npm run build');
    const own = folder === undefined ? mkdtempSync(join(tmpdir(), 'hedge-telemetry-')) : undefined;
    // The library is the build, as users have it.
    const script = compileScript('test/telemetry/pod.ts');
    const child = fork(script.path, [join(folder ?? own!, 'hedge.db'), collector], { execArgv: [] });
    const exited = once(child, 'exit').then(([code]) => Promise.reject(new Error(`The pod ended with code ${code}`)));
    exited.catch(() => undefined);
    const [url] = (await Promise.race([once(child, 'message'), exited]).finally(() => script.remove())) as [string];
    return new Pod(child, url, own);
  }

  async get(path: string): Promise<string> {
    return (await fetch(`${this.url}${path}`)).text();
  }

  async kill(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGKILL');
      await once(this.process, 'exit');
    }
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true });
  }
}

/** Waits until the two pods know each other. Returns the leader, then the follower. */
export async function agreed(pods: readonly Pod[]): Promise<[Pod, Pod]> {
  for (;;) {
    const states = await Promise.all(
      pods.map(async (pod) => JSON.parse(await pod.get('/state')) as { leads: boolean; members: number }),
    );
    const leader = states.findIndex(({ leads }) => leads);
    if (leader !== -1 && states.every(({ members }) => members === 2)) return [pods[leader]!, pods[1 - leader]!];
    await new Promise((resume) => setTimeout(resume, 20));
  }
}
