export { memory, memoryDatabase, type MemoryOptions } from './backend.js';
export type { MemoryDatabase } from './database.js';
