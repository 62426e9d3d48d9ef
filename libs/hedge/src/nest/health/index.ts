export { HedgeHealthIndicator } from './hedge-health.indicator.js';
export { HedgeHealthModule } from './hedge-health.module.js';
