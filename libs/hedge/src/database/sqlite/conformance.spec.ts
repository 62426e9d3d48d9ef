import Database from 'libsql';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { backendConformance } from '../../testing/conformance/index.js';
import { sqlite } from './index.js';

const folder = mkdtempSync(join(tmpdir(), 'hedge-conformance-'));
const file = join(folder, 'hedge.db');

backendConformance({
  name: 'sqlite',
  createFactory: () => sqlite({ file }),
  setClockBack() {
    // The clock that went back by an hour looks the same as a last timestamp an hour ahead.
    const database = new Database(file);
    database.exec('UPDATE hedge_clock SET last = last + 3600000000000');
    database.close();
  },
  cleanUp: () => rmSync(folder, { recursive: true }),
});
