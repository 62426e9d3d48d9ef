/**
 * The driver for SQLite: pods on one machine that share a file.
 *
 * @packageDocumentation
 */
export { sqlite } from './backend.js';
export type { SqliteOptions } from './options.js';
