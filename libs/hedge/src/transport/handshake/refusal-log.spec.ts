import { expect, it } from '@jest/globals';
import { SILENT } from '../../common/line-logger.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { RefusalLog } from './refusal-log.js';

it('writes one line for each peer in ten seconds, however many peers there are', () => {
  const lines: string[] = [];
  const clock = new VirtualClock();
  const log = new RefusalLog({ ...SILENT, warn: (line) => void lines.push(line) }, clock);
  for (let i = 0; i < 3; i++) log.warn('10.0.0.1', 'no 1');
  log.warn('10.0.0.2', 'no 2');
  expect(lines).toEqual(['no 1', 'no 2']);

  clock.advance(10_000);
  log.warn('10.0.0.1', 'no 1');
  expect(lines.slice(2)).toEqual(['no 1 (and 2 more before)']);

  lines.length = 0;
  for (let i = 0; i < 10_000; i++) log.warn(`10.1.${i >> 8}.${i & 255}`, 'no');
  expect(lines.length).toBeLessThan(300);

  clock.advance(10_000);
  lines.length = 0;
  log.warn('10.9.0.1', 'no 9');
  expect(lines).toEqual(['no 9']);
});
