/**
 * A database in memory, for tests and for a single process.
 *
 * @packageDocumentation
 */
export { memory, memoryDatabase, type MemoryOptions } from './backend.js';
export type { MemoryDatabase } from './database.js';
