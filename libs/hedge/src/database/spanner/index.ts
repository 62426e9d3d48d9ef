/**
 * The driver for Cloud Spanner: pods on any machines.
 *
 * @packageDocumentation
 */
export { spanner } from './backend.js';
export type { SpannerOptions } from './options.js';
export type { SpannerDatabase } from './client/client.js';
