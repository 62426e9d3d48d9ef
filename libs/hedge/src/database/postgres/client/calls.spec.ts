import { expect, it } from '@jest/globals';
import { SERIALIZATION_FAILURE } from '../failures.js';
import { Calls } from './calls.js';
import type { Channel } from './client.js';

it('an operation with a bound gives up after so many conflicts, long before the time of a call has passed', async () => {
  const calls = new Calls({} as Channel, 'the database', 600_000);
  let runs = 0;
  const conflict = (): Promise<never> => {
    runs += 1;
    return Promise.reject(Object.assign(new Error('another came first'), { code: SERIALIZATION_FAILURE }));
  };
  await expect(calls.run('log.appendIf', conflict, { mostAttempts: 3 })).rejects.toMatchObject({
    code: 'BACKEND_UNAVAILABLE',
  });
  expect(runs).toBe(3);
});
