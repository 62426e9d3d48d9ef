import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { demo, explain } from './demo.js';

describe('npm run demo', () => {
  it.each([
    [['--tuor'], ["'--tuor'", 'npm run demo -- --tour']],
    [['--backend', 'oracle'], ["Unknown backend 'oracle'. Use one of: sqlite, postgres, spanner"]],
    [['--port', '80000'], ["--port is '80000'. Give a number from 1 to 64000"]],
  ])('rejects %j and says what to give', async (args, messages) => {
    const { err, code } = await demo(...args);
    for (const message of messages) expect(err).toContain(message);
    expect(code).toBe(2);
  });

  it('ends with the reason, and leaves no files, when all its pods were killed', async () => {
    const child = spawn(process.execPath, ['apps/demo/runner/start.mjs', '--port', '18080']);
    let [out, err] = ['', ''];
    child.stderr.setEncoding('utf8').on('data', (text) => (err += String(text)));
    child.stdout.setEncoding('utf8').on('data', (text) => {
      const ready = out.includes('Ctrl-C stops');
      out += String(text);
      if (ready || !out.includes('Ctrl-C stops')) return;
      for (const [, pid] of out.matchAll(/started: pid (\d+)/g)) process.kill(Number(pid), 'SIGKILL');
    });
    const [code] = (await once(child, 'close')) as [number | null];
    expect({ code, err }).toEqual({ code: 1, err: 'The demo failed: all pods have ended\n' });
    const [, file] = /Three pods on sqlite (\S+)/.exec(out)!;
    expect(existsSync(file!)).toBe(false);
  }, 120_000);
});

/** A step of a tour with its events and its outcome, as the demo prints it. */
function step(name: string, events: number, outcome: string): string[] {
  return [`-- ${name}`, ...Array.from({ length: events }, (_, event) => `12:00 ${name} event ${event}`), outcome];
}

describe('a tour that failed', () => {
  it('is explained by its failed steps, with the log of the pods before and during each', () => {
    const failed = step('second', 40, '   FAILED: no leader');
    const lines = [step('first', 100, '   ok: done'), failed, step('third', 5, '   ok: done')].flat();
    const out = `${lines.join('\n')}\n\ntour: 2 passed, 1 failed\n`;
    const text = explain({ out, err: 'a warning', code: 1 });
    expect(text).toContain('The tour ended with code 1: tour: 2 passed, 1 failed\n-- second\n   FAILED: no leader\n');
    for (const line of ['first event 99', ...failed, 'a warning']) expect(text).toContain(line);
    expect(text).not.toContain('first event 1\n');
    expect(text).not.toContain('third');
  });

  it('is explained by its last lines when it ended in the middle of a step', () => {
    const text = explain({ out: step('first', 100, '').join('\n'), err: '', code: null });
    expect(text).toContain('first event 99');
    expect(text).not.toContain('-- first');
  });
});
