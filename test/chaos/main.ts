// npm run chaos -- [--minutes 5] [--seed 1] [--only "the server is killed"]
//
// Three pods on a PostgreSQL server, and random faults of the server, its pooler and the network, each for 0.5 to 30 s.
import { parseArgs } from 'node:util';
import { Random } from '../simulation/random.js';
import { FAULTS } from './faults.js';
import { checkSessions, checkTerms, runFault } from './run.js';
import { World } from './world.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});
const names = Object.keys(FAULTS).filter((name) => values.only === undefined || name === values.only);
if (names.length === 0) {
  console.error(`There is no fault "${values.only}". Use one of:\n${Object.keys(FAULTS).join('\n')}`);
  process.exit(2);
}
const random = new Random(Number(values.seed));
const end = performance.now() + Number(values.minutes) * 60_000;

const world = await World.start();
try {
  for (let phase = 1; performance.now() < end; phase += 1) {
    const name = random.pick(names);
    const holdMs = Math.round(random.skewed(500, 30_000));
    console.log(`${phase}. ${name}, for ${holdMs} ms`);
    const { puts, acknowledged, gets, recoveryMs } = await runFault(world, name, `${phase}`, holdMs);
    const terms = await checkTerms(world);
    console.log(
      `   ${acknowledged} of ${puts} puts, ${gets} gets; recovered in ${recoveryMs} ms; ${terms} terms so far`,
    );
  }
  await checkSessions(world);
  console.log('no value was lost or stale, no two pods led at a time, no session was left');
} finally {
  await world.close();
}
