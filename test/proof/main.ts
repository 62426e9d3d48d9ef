// npm run proof   what a stopped process does to four kinds of locks, step by step
import { missing, SCHEDULES, Stage } from './schedule.js';
import { describeResults } from './table.js';

console.log('Two processes, A and B, write under a lock. PostgreSQL and the other servers start on this machine.');
const stage = await Stage.set((line) => console.log(`  ${line}`));
process.once('SIGINT', () => void stage.clear().then(() => process.exit(130)));
try {
  const results = [];
  for (const schedule of SCHEDULES) {
    const { lock, stop } = schedule;
    console.log(`\n${lock}: A ${stop === undefined ? 'does not stop' : `stops ${stop}`}`);
    const program = missing(lock);
    if (program === undefined) results.push(await stage.perform(schedule));
    else console.log(`  not run: ${program} is not installed`);
  }
  console.log(`\n${describeResults(results)}`);
} finally {
  await stage.clear();
}
