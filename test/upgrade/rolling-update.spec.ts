import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';

jest.setTimeout(180_000);

/** The last commit of the version before this one. */
const BEFORE = '097541c';
const folder = mkdtempSync(join(tmpdir(), 'hedge-upgrade-'));
const running: ChildProcess[] = [];

/** The sources of the version before, or undefined in a clone without that history. */
function sourcesBefore(): string | undefined {
  try {
    const archive = execFileSync('git', ['archive', '--format=tar', BEFORE], {
      maxBuffer: 2 ** 28,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    execFileSync('tar', ['x', '-C', folder], { input: archive });
    installBefore();
    return folder;
  } catch {
    return undefined;
  }
}

/** What is installed for this version, and what only the version before imports: nothing of it is called here. */
function installBefore(): void {
  const modules = join(folder, 'node_modules');
  mkdirSync(modules);
  for (const name of readdirSync('node_modules')) symlinkSync(resolve('node_modules', name), join(modules, name));
  if (existsSync(join(modules, 'cron'))) return;
  mkdirSync(join(modules, 'cron'));
  writeFileSync(join(modules, 'cron/package.json'), JSON.stringify({ name: 'cron', type: 'module', main: 'index.js' }));
  writeFileSync(join(modules, 'cron/index.js'), 'export class CronTime {}\n');
}

class Pod {
  private constructor(private readonly child: ChildProcess) {}

  static async start(root: string, file: string): Promise<Pod> {
    const child = fork(resolve('test/upgrade/pod.ts'), [root, file], {
      execArgv: ['--import', 'tsx'],
      cwd: root,
      silent: true,
    });
    running.push(child);
    await once(child, 'message');
    return new Pod(child);
  }

  async tell(...command: readonly string[]): Promise<unknown> {
    const answer = once(this.child, 'message');
    this.child.send(command);
    const [{ done, failed }] = (await answer) as [{ done?: unknown; failed?: string }];
    if (failed !== undefined) throw new Error(failed);
    return done;
  }

  async until(state: { leads: boolean; members: number }): Promise<void> {
    while (JSON.stringify(await this.tell('leader')) !== JSON.stringify(state)) {
      await new Promise((again) => setTimeout(again, 50));
    }
  }

  async stop(): Promise<void> {
    await this.tell('stop');
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }
}

afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const before = sourcesBefore();
// A shallow clone has no other build; the recordings of wire.spec.ts and rows.spec.ts are read there all the same.
const whereThereIsHistory = before === undefined ? describe.skip : describe;

whereThereIsHistory('a rolling update from the version before', () => {
  it('joins pods of both, which lead in turn and read what the other has written, and can be rolled back', async () => {
    const old = before ?? '';
    const file = join(folder, 'rolling.db');
    const first = await Pod.start(old, file);
    await first.until({ leads: true, members: 1 });
    await first.tell('put', 'by', 'old leader');

    const second = await Pod.start(resolve('.'), file);
    await second.until({ leads: false, members: 2 });
    expect(await second.tell('get', 'by')).toBe('old leader');
    await second.tell('put', 'by', 'new follower of an old leader');
    expect(await first.tell('get', 'by')).toBe('new follower of an old leader');

    await first.stop();
    await second.until({ leads: true, members: 1 });
    await second.tell('put', 'by', 'new leader');

    const third = await Pod.start(old, file);
    await third.until({ leads: false, members: 2 });
    expect(await third.tell('get', 'by')).toBe('new leader');
    await third.tell('put', 'by', 'old follower of a new leader');
    expect(await second.tell('get', 'by')).toBe('old follower of a new leader');

    await second.stop();
    await third.until({ leads: true, members: 1 });
    expect(await third.tell('get', 'by')).toBe('old follower of a new leader');
  });
});
