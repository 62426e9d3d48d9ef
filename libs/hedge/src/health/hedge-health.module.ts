import { Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { HedgeHealthIndicator } from './hedge-health.indicator.js';

/** Provides `HedgeHealthIndicator` to the module that imports it, beside `HedgeModule` in the app's root. */
@Module({ imports: [TerminusModule], providers: [HedgeHealthIndicator], exports: [HedgeHealthIndicator] })
export class HedgeHealthModule {}
