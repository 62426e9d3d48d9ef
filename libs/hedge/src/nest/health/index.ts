/**
 * The health indicator for `@nestjs/terminus`.
 *
 * @packageDocumentation
 */
export { HedgeHealthIndicator } from './hedge-health.indicator.js';
export { HedgeHealthModule } from './hedge-health.module.js';
