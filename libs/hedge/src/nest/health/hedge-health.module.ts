import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { HedgeHealthIndicator } from './hedge-health.indicator.js';

/**
 * Provides `HedgeHealthIndicator` to the module that imports it, beside `HedgeModule` in the app's root. When
 * `HedgeModule` has `isGlobal: false`, list `HedgeHealthIndicator` in the providers of a module that imports
 * `HedgeModule` and `TerminusModule` instead.
 */
@Module({ imports: [TerminusModule], providers: [HedgeHealthIndicator], exports: [HedgeHealthIndicator] })
export class HedgeHealthModule {}
