export { spanner } from './backend.js';
export type { SpannerOptions } from './options.js';
export type { SpannerDatabase } from './client/client.js';
