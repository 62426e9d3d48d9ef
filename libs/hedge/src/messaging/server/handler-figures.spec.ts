import { expect, it } from '@jest/globals';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { HandlerFigures } from './handler-figures.js';

it('counts the calls of a topic with their errors and durations, by kind', () => {
  const figures = new HandlerFigures(new VirtualClock());
  for (const ms of [0, 0.05, 10, 10, 90_000_000]) figures.record('leader', 'price', 'OK', ms);
  figures.record('leader', 'price', 'HANDLER_FAILED', 10);
  figures.record('broadcast', 'price', 'OK', 1);
  const [price, flush] = figures.state().topics;
  expect(price).toMatchObject({ kind: 'leader', topic: 'price', calls: 6, errors: { HANDLER_FAILED: 1 } });
  expect(price!.durations.map(([, calls]) => calls)).toEqual([2, 3, 1]);
  const [shortest, ten] = price!.durations.map(([upToMs]) => upToMs);
  expect(shortest).toBe(0.1);
  expect(ten).toBeGreaterThanOrEqual(10);
  expect(ten).toBeLessThanOrEqual(12);
  expect(flush).toMatchObject({ kind: 'broadcast', topic: 'price', calls: 1, errors: {} });
});

it('forgets calls after five minutes, and shows the time that its figures are about', () => {
  const clock = new VirtualClock();
  const figures = new HandlerFigures(clock);
  figures.record('leader', 'price', 'OVERLOADED', 5);
  clock.advance(30_000);
  expect(figures.state()).toMatchObject({ seconds: 30, topics: [{ calls: 1, errors: { OVERLOADED: 1 } }] });
  clock.advance(200_000);
  figures.record('leader', 'price', 'OK', 5);
  expect(figures.state().topics).toMatchObject([{ calls: 2 }]);
  clock.advance(120_000);
  const { seconds, topics } = figures.state();
  expect(topics).toMatchObject([{ calls: 1, errors: {} }]);
  expect(seconds).toBeLessThanOrEqual(300);
  clock.advance(600_000);
  expect(figures.state().topics).toEqual([]);
  figures.record('leader', 'price', 'OK', 5);
  expect(figures.state().topics).toMatchObject([{ calls: 1, errors: {} }]);
});

it('counts at most 500 topics', () => {
  const figures = new HandlerFigures(new VirtualClock());
  for (let i = 0; i < 600; i += 1) figures.record('leader', `topic ${i}`, 'OK', 1);
  expect(figures.state().topics).toHaveLength(500);
  figures.record('leader', 'topic 1', 'OK', 1);
  expect(figures.state().topics[1]).toMatchObject({ calls: 2 });
});
