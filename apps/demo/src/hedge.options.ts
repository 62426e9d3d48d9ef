import type { ConfigService } from '@nestjs/config';
import type { HedgeOptions, TimingPreset } from 'nestjs-hedge';
import { postgres } from 'nestjs-hedge/postgres';
import { spanner } from 'nestjs-hedge/spanner';
import { sqlite } from 'nestjs-hedge/sqlite';

/** The settings of the pod, from the environment or a `.env` file. */
export function hedgeOptions(config: ConfigService): HedgeOptions {
  return {
    group: config.get<string>('HEDGE_GROUP', 'demo'),
    address: config.get<string>('HEDGE_ADDRESS', ':8080'),
    backend: backend(config),
    timing: config.get<TimingPreset>('HEDGE_TIMING', 'local'),
    renewal: config.get<'main' | 'worker'>('HEDGE_RENEWAL', 'main'),
    spill: spill(config),
    ...preferNewest(config),
  };
}

function preferNewest(config: ConfigService): Pick<HedgeOptions, 'preferNewest'> {
  const appVersion = config.get<string>('HEDGE_APP_VERSION');
  return appVersion === undefined ? {} : { preferNewest: { appVersion } };
}

function spill(config: ConfigService): HedgeOptions['spill'] {
  const directory = config.get<string>('HEDGE_SPILL_DIRECTORY');
  return {
    memory: config.get<string>('HEDGE_SPILL_MEMORY', '64MB'),
    disk: config.get<string>('HEDGE_SPILL_DISK', '0'),
    ...(directory !== undefined && { directory }),
  };
}

function backend(config: ConfigService): HedgeOptions['backend'] {
  const name = config.get<string>('HEDGE_BACKEND', 'sqlite');
  const tables = {
    lockTable: config.get<string>('HEDGE_LOCK_TABLE', 'locktable'),
    logTable: config.get<string>('HEDGE_LOG_TABLE', 'logtable'),
  };
  switch (name) {
    case 'sqlite':
      return sqlite({ file: config.get<string>('HEDGE_SQLITE_FILE', 'hedge.db'), ...tables });
    case 'postgres':
      return postgres({
        connectionString: config.getOrThrow<string>('DATABASE_URL'),
        schema: config.get<string>('HEDGE_SCHEMA', 'hedge'),
        ...tables,
      });
    case 'spanner':
      return spanner({ database: config.getOrThrow<string>('HEDGE_SPANNER_DATABASE'), ...tables });
    default:
      throw new Error(`HEDGE_BACKEND is "${name}". Set it to sqlite, postgres or spanner.`);
  }
}
