import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const SCRIPT = resolve('scripts/check-commits.mjs');
const BEFORE_THE_RULE = '2026-11-27T03:01:00Z';
const AFTER_THE_RULE = '2026-11-27T03:02:00Z';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hedge-commits-'));
  run('git', ['init', '-q', '-b', 'main']);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = folder) {
  const identity = { GIT_AUTHOR_NAME: 'A', GIT_AUTHOR_EMAIL: 'a@b.c', GIT_COMMITTER_NAME: 'A' };
  const alone = { GIT_COMMITTER_EMAIL: 'a@b.c', GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_SYSTEM: '/dev/null' };
  return spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, ...identity, ...alone, ...env },
  });
}

function commit(subject: string, date = AFTER_THE_RULE): string {
  run('git', ['commit', '-q', '--allow-empty', '-m', subject], { GIT_AUTHOR_DATE: date });
  return run('git', ['rev-parse', 'HEAD']).stdout.trim();
}

function check(args: readonly string[] = [], cwd = folder) {
  const { status, stdout, stderr } = run(process.execPath, [SCRIPT, ...args], {}, cwd);
  return { status, output: stdout + stderr };
}

describe('the check of commit subjects', () => {
  it('accepts 15 to 72 characters', () => {
    commit('x'.repeat(15));
    commit('é'.repeat(72));
    expect(check()).toEqual({ status: 0, output: '2 commit subjects checked\n' });
  });

  it.each([14, 73])('refuses %d characters, and names the commit', (length) => {
    const id = commit('x'.repeat(length));
    const { status, output } = check();
    expect(status).toBe(1);
    expect(output).toContain(`${id.slice(0, 7)}: the subject "${'x'.repeat(length)}" has ${length} characters.`);
  });

  it('accepts commits from before the rule, in a history without the commit that began it', () => {
    commit('x', BEFORE_THE_RULE);
    commit('Renew locks during drain');
    expect(check()).toEqual({ status: 0, output: '1 commit subjects checked\n' });
  });

  it('works in a shallow clone', () => {
    commit('x', BEFORE_THE_RULE);
    commit('x');
    commit('Renew locks during drain');
    const clone = join(folder, 'clone');
    run('git', ['clone', '-q', '--depth', '1', `file://${folder}`, clone]);
    expect(check([], clone)).toEqual({ status: 0, output: '1 commit subjects checked\n' });
    run('git', ['fetch', '-q', '--deepen', '1'], {}, clone);
    expect(check([], clone).status).toBe(1);
  });

  it('checks only commits after the given one', () => {
    const from = commit('x');
    commit('Renew locks during drain');
    expect(check(['--from', from])).toEqual({ status: 0, output: '1 commit subjects checked\n' });
  });

  it('checks all commits after the start when the given one is unknown', () => {
    commit('x');
    expect(check(['--from', '0'.repeat(40)]).status).toBe(1);
  });

  it('does not check merges', () => {
    commit('Renew locks during drain');
    run('git', ['checkout', '-q', '-b', 'side']);
    commit('Say why a lock was lost');
    run('git', ['checkout', '-q', 'main']);
    run('git', ['merge', '-q', '--no-ff', '-m', 'x', 'side']);
    expect(check()).toEqual({ status: 0, output: '2 commit subjects checked\n' });
  });

  it('fails outside of a repository', () => {
    rmSync(join(folder, '.git'), { recursive: true });
    expect(check([], folder)).toEqual({ status: 2, output: expect.stringContaining('could not be checked') });
  });

  it.each([
    ['x', 1],
    ['# a comment\n\nRenew locks during drain\n\nWhy.', 0],
    ['fixup! x', 0],
    ["Merge branch 'x'", 0],
  ])('judges the message %j with exit code %d', (message, status) => {
    const file = join(folder, 'message');
    writeFileSync(file, message);
    expect(check(['--message', file]).status).toBe(status);
  });

  it('runs in the hook for each commit', () => {
    run('git', ['config', 'core.hooksPath', resolve('.githooks')]);
    run('mkdir', ['scripts']);
    writeFileSync(join(folder, 'scripts/check-commits.mjs'), `await import(${JSON.stringify(SCRIPT)});\n`);
    expect(run('git', ['commit', '--allow-empty', '-m', 'x']).status).toBe(1);
    expect(run('git', ['commit', '--allow-empty', '-m', 'Renew locks during drain']).status).toBe(0);
  });
});
