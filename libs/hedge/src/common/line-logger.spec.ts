import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { LineLogger, oneLine, safeStack, SILENT } from './line-logger.js';

afterEach(() => void jest.restoreAllMocks());

const broken = (): never => {
  throw new Error('the disk is full\nof logs');
};

describe('LineLogger', () => {
  it.each(['log', 'warn', 'error', 'debug'] as const)('a text from outside cannot begin a line in %s', (level) => {
    const lines: unknown[] = [];
    const logger = new LineLogger('Hedge', { ...SILENT, [level]: (message: string) => void lines.push(message) });
    logger[level]('refused by 10.0.0.1:1\n[Nest] 1 LOG all is well\r\u001b[2K\u2028\u202e');
    expect(lines).toEqual(['refused by 10.0.0.1:1\\u000a[Nest] 1 LOG all is well\\u000d\\u001b[2K\\u2028\\u202e']);
  });

  it.each(['log', 'warn', 'error', 'debug'] as const)(
    'a logger of the app that throws in %s does not stop the caller, and causes one warning',
    (level) => {
      const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
      const logger = new LineLogger('Hedge', { log: broken, warn: broken, error: broken, debug: broken });
      logger[level]('one');
      logger[level]('two');
      expect(emitWarning.mock.calls).toEqual([
        [
          'The logger of this app threw an error, so lines of Hedge are missing from its log: the disk is full\\u000aof logs. ' +
            'Correct the logger that was given to Nest.',
        ],
      ]);
    },
  );

  it('a line has the fields of the pod and of its event, with tokens as digits, and no text can begin a line', () => {
    const fields: unknown[] = [];
    const sink = { ...SILENT, warn: (_: string, given: object) => void fields.push(given) };
    const logger = new LineLogger('Hedge', sink, () => ({ group: 'a\nb', member: undefined }));
    logger.warn('lost', { event: 'lock.lost', lock: 'c\nd', token: 2n ** 60n, reason: 'expired', code: undefined });
    logger.warn('plain');
    expect(fields).toEqual([
      { group: 'a\\u000ab', event: 'lock.lost', lock: 'c\\u000ad', token: '1152921504606846976', reason: 'expired' },
      { group: 'a\\u000ab' },
    ]);
  });

  it('the message of an error cannot begin a line in its stack', () => {
    const stack: unknown[] = [];
    const logger = new LineLogger('Hedge', { ...SILENT, error: (_, given) => void stack.push(given) });
    logger.error('it failed', new Error('no\n[Nest] 1 LOG all is well').stack);
    const [first, second] = String(stack[0]).split('\n');
    expect(first).toBe('Error: no\\u000a[Nest] 1 LOG all is well');
    expect(second).toMatch(/^ {4}at /);
  });
});

it('other text stays as it is, in every script, and an endless one is cut', () => {
  expect(oneLine('Zażółć 東京 “a” 🎉')).toBe('Zażółć 東京 “a” 🎉');
  expect(oneLine('x'.repeat(100_000)).length).toBeLessThan(5_000);
  expect(safeStack('thrown\nwithout frames')).toBe('thrown\\u000awithout frames');
});
