// From the sources: the library and the emulator are measured together, and neither needs the other's build.
import { startSpannerEmulator } from '../../libs/spanner-emulator/src/index.js';
import { indexDdl, tableDdl } from '../../libs/hedge/src/database/spanner/schema.js';
import { answer } from './child.js';

const TABLES = { lockTable: 'locktable', logTable: 'logtable' };

/** Our own Spanner: what it can do bounds what is measured, so that only ratios mean anything. */
const emulator = await startSpannerEmulator({ port: 0, ddl: [...tableDdl(TABLES), indexDdl(TABLES)] });

const commands = {
  database: () => ({ database: emulator.database, address: emulator.address }),
  /** How many calls arrived so far. */
  calls: () => Object.values(emulator.counters().calls).reduce((sum, count) => sum + count, 0),
};
export type SpannerServerCommands = typeof commands;
answer(commands);
