import type { ConfigService } from '@nestjs/config';
import type { HedgeOptions, TimingPreset } from 'nestjs-hedge';
import { sqlite } from 'nestjs-hedge/sqlite';

/** The pod's settings, from the environment or a `.env` file. */
export function hedgeOptions(config: ConfigService): HedgeOptions {
  return {
    group: config.get<string>('HEDGE_GROUP', 'demo'),
    address: config.get<string>('HEDGE_ADDRESS', ':8080'),
    backend: sqlite({ file: config.get<string>('HEDGE_SQLITE_FILE', 'hedge.db') }),
    timing: config.get<TimingPreset>('HEDGE_TIMING', 'local'),
  };
}
