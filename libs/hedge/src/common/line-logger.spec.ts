import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { LineLogger, oneLine, safeStack } from './line-logger.js';

afterEach(() => {
  Logger.overrideLogger(true);
  jest.restoreAllMocks();
});

const broken = (): never => {
  throw new Error('the disk is full\nof logs');
};

describe('LineLogger', () => {
  it.each(['log', 'warn', 'error', 'debug', 'verbose'] as const)(
    'a text from outside cannot begin a line in %s',
    (level) => {
      const lines: unknown[] = [];
      const take = jest.fn((message: unknown) => void lines.push(message));
      Logger.overrideLogger({ log: take, warn: take, error: take, debug: take, verbose: take });
      new LineLogger('Hedge')[level]('refused by 10.0.0.1:1\n[Nest] 1 LOG all is well\r\u001b[2K\u2028\u202e');
      expect(lines).toEqual(['refused by 10.0.0.1:1\\u000a[Nest] 1 LOG all is well\\u000d\\u001b[2K\\u2028\\u202e']);
    },
  );

  it.each(['log', 'warn', 'error', 'debug', 'verbose'] as const)(
    'a logger of the app that throws in %s does not stop what logs, and is warned of once',
    (level) => {
      Logger.overrideLogger({ log: broken, warn: broken, error: broken, debug: broken, verbose: broken });
      const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
      const logger = new LineLogger('Hedge');
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

  it('the message of an error cannot begin a line in its stack', () => {
    const stack: unknown[] = [];
    Logger.overrideLogger({
      log: () => undefined,
      warn: () => undefined,
      error: (_m: unknown, s: unknown) => void stack.push(s),
    });
    new LineLogger('Hedge').error('it failed', new Error('no\n[Nest] 1 LOG all is well').stack);
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
