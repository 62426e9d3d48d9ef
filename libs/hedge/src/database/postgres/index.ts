/**
 * The driver for PostgreSQL: pods on any machines.
 *
 * @packageDocumentation
 */
export { postgres } from './backend.js';
export type { PostgresOptions } from './options.js';
export type { PostgresClient, PostgresPool, PostgresPoolClient } from './client/client.js';
