import { describe, expect, it } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';

interface Workflow {
  readonly jobs: Readonly<Record<string, Job>>;
}
interface Job {
  readonly strategy?: { readonly matrix: { readonly node: readonly number[] } };
  readonly steps: readonly { readonly run?: string }[];
}

const files = readdirSync('.github', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.yml'));

function read(name: string): unknown {
  return parse(readFileSync(join('.github', name), 'utf8'));
}

describe('the workflow', () => {
  const { jobs } = read('workflows/ci.yml') as Workflow;

  it('runs npm test on every supported major of Node', () => {
    expect(jobs['test']?.strategy?.matrix.node).toEqual([20, 22, 24]);
    expect(jobs['test']?.steps.map(({ run }) => run)).toContain('npm test');
  });

  it('builds the site of the documentation, which fails on a broken link', () => {
    expect(jobs['docs']?.steps.map(({ run }) => run)).toContain('npm run docs');
  });

  it('checks the subjects of new commits', () => {
    expect(jobs['commits']?.steps.at(-1)?.run).toBe('node scripts/check-commits.mjs --from "$FROM"');
  });

  it.each(files)('is valid YAML, and runs only scripts that exist: %s', (name) => {
    const text = readFileSync(join('.github', name), 'utf8');
    expect(read(name)).toBeInstanceOf(Object);
    for (const [script] of text.matchAll(/scripts\/[\w-]+\.mjs/g)) expect(existsSync(script)).toBe(true);
  });
});
