export { sqlite } from './backend.js';
export type { SqliteOptions } from './options.js';
