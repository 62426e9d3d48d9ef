import { afterEach, describe, expect, it } from '@jest/globals';
import { type Progress, startProgress } from '../../scripts/progress.mjs';

const CLEAR = '\r\u001B[2K';

let progress: Progress | undefined;
afterEach(() => progress?.stop());

/** Collects the output until a condition holds. */
function screen(isTTY: boolean) {
  const written: string[] = [];
  let notify: (() => void) | undefined;
  const write = (text: string): boolean => {
    written.push(text);
    notify?.();
    return true;
  };
  const until = (holds: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      notify = () => {
        if (holds()) resolve();
      };
      notify();
    });
  return { out: { write, isTTY, columns: 40 }, written, until };
}

/** The timer of the progress does not keep the process alive, so this timer does. */
async function whileAlive(wait: Promise<void>): Promise<void> {
  const alive = setInterval(() => {}, 1_000);
  await wait;
  clearInterval(alive);
}

describe('the progress of a long command', () => {
  it('is a new line for each report in a pipe', async () => {
    const { out, written, until } = screen(false);
    let seeds = 0;
    progress = startProgress(() => `${(seeds += 10)} seeds`, { out, lineMs: 1, redrawMs: 1 });
    await whileAlive(until(() => written.length >= 2));
    expect(written[0]).toMatch(/^… 10 seeds, \d+ s\n$/);
    expect(written[1]).toMatch(/^… 20 seeds, \d+ s\n$/);
  });

  it('is one line that is redrawn on a terminal, and removed at the end', async () => {
    const { out, written, until } = screen(true);
    progress = startProgress(() => 'types', { out, lineMs: 1, redrawMs: 1 });
    await whileAlive(until(() => written.length >= 2));
    progress.stop();
    expect(written.at(-1)).toBe(CLEAR);
    for (const text of written.slice(0, -1)) {
      expect(text.startsWith(CLEAR)).toBe(true);
      expect(text.slice(CLEAR.length)).toMatch(/^… types, \d+ s\r$/);
    }
  });

  it('fits into one line of the terminal', async () => {
    const { out, written, until } = screen(true);
    progress = startProgress(() => 'x'.repeat(100), { out, redrawMs: 1 });
    await whileAlive(until(() => written.length >= 1));
    expect(written[0]!.slice(CLEAR.length, -1)).toHaveLength(39);
  });

  it('writes nothing after its end', async () => {
    const { out, written, until } = screen(false);
    progress = startProgress(() => 'types', { out, lineMs: 1 });
    await whileAlive(until(() => written.length >= 1));
    progress.stop();
    const before = written.length;
    const other = screen(false);
    progress = startProgress(() => 'lint', { out: other.out, lineMs: 1 });
    await whileAlive(other.until(() => other.written.length >= 5));
    expect(written).toHaveLength(before);
  });
});
