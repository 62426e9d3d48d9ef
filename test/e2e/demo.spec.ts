import { describe, expect, it } from '@jest/globals';
import { spawnSync } from 'node:child_process';

function demo(...args: string[]) {
  return spawnSync(process.execPath, ['apps/demo/runner/start.mjs', ...args], { encoding: 'utf8', timeout: 240_000 });
}

describe('npm run demo', () => {
  it.each(['sqlite', 'postgres', 'spanner'])(
    'runs the whole tour on %s',
    (backend) => {
      const { stdout, status } = demo('--tour', '--backend', backend);
      const lines = stdout.trimEnd().split('\n');
      expect(lines.filter((line) => line.startsWith('   FAILED'))).toEqual([]);
      expect(lines.at(-1)).toBe('tour: 20 passed, 0 failed');
      expect(status).toBe(0);
    },
    240_000,
  );

  it('rejects an unknown argument and shows the usage', () => {
    const { stderr, status } = demo('--tuor');
    expect(stderr).toContain("'--tuor'");
    expect(stderr).toContain('npm run demo -- --tour');
    expect(status).toBe(2);
  }, 60_000);

  it('rejects an unknown backend and names the known ones', () => {
    const { stderr, status } = demo('--backend', 'oracle');
    expect(stderr).toContain("Unknown backend 'oracle'. Use one of: sqlite, postgres, spanner");
    expect(status).toBe(2);
  }, 60_000);
});
