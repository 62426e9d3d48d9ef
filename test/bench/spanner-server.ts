// Imports the sources: the library and the emulator are measured together, and neither needs the build of the other.
import { startSpannerEmulator } from '../../libs/spanner-emulator/src/index.js';
import { indexDdl, tableDdl } from '../../libs/hedge/src/database/spanner/schema.js';
import { answer } from './child.js';

const TABLES = { lockTable: 'locktable', logTable: 'logtable' };

/** Our own emulator. Its speed limits the measured rates, so that only ratios are meaningful. */
const emulator = await startSpannerEmulator({ port: 0, ddl: [...tableDdl(TABLES), indexDdl(TABLES)] });

const commands = {
  database: () => ({ database: emulator.database, address: emulator.address }),
  /** The number of received calls. */
  calls: () => Object.values(emulator.counters().calls).reduce((sum, count) => sum + count, 0),
};
export type SpannerServerCommands = typeof commands;
answer(commands);
