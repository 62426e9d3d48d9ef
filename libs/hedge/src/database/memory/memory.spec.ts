import { backendConformance } from '../../testing/conformance/index.js';
import { VirtualClock } from '../../testing/virtual-clock.js';
import { memory, memoryDatabase } from './index.js';

const clock = new VirtualClock();

backendConformance({
  name: 'memory',
  createFactory: () => memory({ database: memoryDatabase({ clock }), clock }),
  setClockBack: () => clock.jumpWall(-3_600_000),
  // Its transactions are no part of this database, so the fence only compares.
  applications: [{ name: 'an object', source: () => ({}) }],
  time: { now: () => clock.now().mono, pass: (ms) => clock.advanceAsync(ms) },
});
