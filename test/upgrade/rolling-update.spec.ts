import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import { compiled, compileScript } from '../compiled-script.js';
import { openEmulator } from '../spanner/target.js';
import type { Command } from './pod.js';

jest.setTimeout(180_000);

/** The last commit of the previous version. */
const BEFORE = '097541c';
const folder = mkdtempSync(join(tmpdir(), 'hedge-upgrade-'));
const running: ChildProcess[] = [];
/** The same script on two builds of the package. */
const onThisVersion = compileScript('test/upgrade/pod.ts');
const onVersionBefore = hasVersionBefore() ? installVersionBefore() : undefined;

/** False in a shallow clone. */
function hasVersionBefore(): boolean {
  try {
    execFileSync('git', ['cat-file', '-e', `${BEFORE}^{commit}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * Builds the package of the previous version, and installs it beside the packages of this version. @returns the
 * script's path.
 */
function installVersionBefore(): string {
  const sources = ['libs/hedge/package.json', 'libs/hedge/src'];
  const archive = execFileSync('git', ['archive', '--format=tar', BEFORE, ...sources], { maxBuffer: 2 ** 28 });
  execFileSync('tar', ['x', '-C', folder], { input: archive });
  const hedge = join(folder, 'libs/hedge');
  const dist = join(hedge, 'dist');
  cpSync(join(hedge, 'src'), dist, { recursive: true }); // also the JavaScript of the SQLite thread
  for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || file.endsWith('.spec.ts')) continue;
    writeFileSync(join(dist, file.replace(/\.ts$/, '.js')), compiled(join(dist, file)));
  }
  const modules = join(folder, 'node_modules');
  mkdirSync(modules);
  for (const name of readdirSync('node_modules')) {
    if (name !== 'nestjs-hedge') symlinkSync(resolve('node_modules', name), join(modules, name));
  }
  symlinkSync(hedge, join(modules, 'nestjs-hedge'));
  installCron(modules);
  const script = join(folder, 'pod.mjs');
  writeFileSync(script, compiled('test/upgrade/pod.ts'));
  return script;
}

/** The previous version imports `cron`, which this version does not install. The pods call nothing of it. */
function installCron(modules: string): void {
  const cron = join(modules, 'cron');
  if (existsSync(cron)) return;
  mkdirSync(cron);
  writeFileSync(join(cron, 'package.json'), JSON.stringify({ name: 'cron', type: 'module', main: 'index.js' }));
  writeFileSync(join(cron, 'index.js'), 'export class CronTime {}\n');
}

class Pod {
  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
  ) {}

  /** @param target the driver and its database */
  static async start(script: string, name: string, target: readonly string[]): Promise<Pod> {
    const child = fork(script, [name, ...target], { execArgv: [], env: { ...process.env }, silent: true });
    running.push(child);
    let stderr = '';
    child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()));
    const ended = once(child, 'exit').then(() => Promise.reject(new Error(`The pod ${name} ended: ${stderr}`)));
    await Promise.race([once(child, 'message'), ended]);
    ended.catch(() => undefined);
    return new Pod(name, child);
  }

  async run<Result>(command: Command, ...args: readonly string[]): Promise<Result> {
    const answer = once(this.child, 'message');
    this.child.send([command, ...args]);
    const [{ done, failed }] = (await answer) as [{ done?: unknown; failed?: string }];
    if (failed !== undefined) throw new Error(`${this.name}, ${command}: ${failed}`);
    return done as Result;
  }

  async until(state: { leads: boolean; members: number }): Promise<void> {
    while (JSON.stringify(await this.run('state')) !== JSON.stringify(state)) {
      await new Promise((again) => setTimeout(again, 50));
    }
  }

  /** Waits until the job has run once more. @returns the times of all its firings that were done. */
  async untilJobRuns(): Promise<number[]> {
    const { length } = await this.run<number[]>('firings');
    for (;;) {
      const firings = await this.run<number[]>('firings');
      if (firings.length > length) return firings;
      await new Promise((again) => setTimeout(again, 50));
    }
  }

  async stop(): Promise<void> {
    await this.run('stop');
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}

/** Uses every feature from both pods. The first one leads. */
async function useAll(leader: Pod, follower: Pod): Promise<void> {
  for (const pod of [leader, follower]) {
    const other = pod === leader ? follower : leader;
    expect(await pod.run('send')).toBe(`${leader.name} greets ${pod.name}`);
    expect(new Set(await pod.run<string[]>('broadcast'))).toEqual(new Set([leader.name, follower.name]));

    await pod.run('put', 'key', `of ${pod.name}`);
    expect(await other.run('get', 'key')).toBe(`of ${pod.name}`);

    await pod.run('lock');
    expect(await other.run('lockIsFree')).toBe(false);
    await pod.run('release');
    expect(await other.run('lockIsFree')).toBe(true);

    await pod.run('permit');
    expect(await other.run('permitIsFree')).toBe(false);
    await pod.run('release');
    expect(await other.run('permitIsFree')).toBe(true);

    expect(await pod.run('spill')).toEqual({ same: 2_000, members: 2 });
  }
  const firings = await follower.untilJobRuns();
  expect(new Set(firings).size).toBe(firings.length);
}

afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
afterAll(() => {
  onThisVersion.remove();
  rmSync(folder, { recursive: true });
});

// A shallow clone has no other build. There, wire.spec.ts and rows.spec.ts read recordings of the previous version.
const whereThereIsHistory = onVersionBefore === undefined ? describe.skip : describe;

whereThereIsHistory('a rolling update from the version before', () => {
  it.each(['sqlite', 'spanner'])(
    'pods of both versions serve every feature to each other, whichever leads, and can be rolled back: %s',
    async (driver) => {
      const emulator = driver === 'spanner' ? await openEmulator() : undefined;
      try {
        const target = [driver, emulator?.database ?? join(folder, 'rolling.db')];
        const [versionBefore, thisVersion] = [onVersionBefore ?? '', onThisVersion.path];
        const first = await Pod.start(versionBefore, 'first', target);
        await first.until({ leads: true, members: 1 });

        const updated = await Pod.start(thisVersion, 'updated', target);
        await updated.until({ leads: false, members: 2 });
        await useAll(first, updated);
        await expect(updated.run('listJobs')).rejects.toThrow(/NO_HANDLER|does not know this request/);

        await first.stop();
        await updated.until({ leads: true, members: 1 });
        expect(await updated.run('listJobs')).toEqual(['tick']);

        const rolledBack = await Pod.start(versionBefore, 'rolled back', target);
        await rolledBack.until({ leads: false, members: 2 });
        await useAll(updated, rolledBack);

        await updated.stop();
        await rolledBack.until({ leads: true, members: 1 });
        expect(await rolledBack.run('get', 'key')).toBe('of rolled back');
      } finally {
        await emulator?.close();
      }
    },
  );
});
