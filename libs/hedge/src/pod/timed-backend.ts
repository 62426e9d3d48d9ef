import type { Clock } from '../common/clock.js';
import { codeOf } from '../common/errors.js';
import type { Backend } from '../database/backend.js';
import type { Metrics } from '../telemetry/metrics.js';

/** The backend, with a metric of each call to the tables: `lease.read`, `log.append`, `permits.write`. */
export function timedBackend(backend: Backend, clock: Clock, metrics: Metrics): Backend {
  const timed = <Table extends object>(name: string, table: Table): Table => timedTable(table, name, clock, metrics);
  return {
    name: backend.name,
    lease: timed('lease', backend.lease),
    log: timed('log', backend.log),
    permits: timed('permits', backend.permits),
    transactions: backend.transactions,
    open: () => backend.open(),
    close: () => backend.close(),
  };
}

/** Each method that returns a promise is a call to the database. */
function timedTable<Table extends object>(table: Table, name: string, clock: Clock, metrics: Metrics): Table {
  const methods = new Map<unknown, unknown>();
  return new Proxy(table, {
    get(_, key) {
      const known = methods.get(key);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(table, key, table);
      if (typeof value !== 'function') return value;
      const operation = `${name}.${String(key)}`;
      const method = (...args: unknown[]): unknown => {
        const start = metrics.listening ? clock.now().mono : undefined;
        const result: unknown = Reflect.apply(value, table, args);
        if (start === undefined || !(result instanceof Promise)) return result;
        const measured = (outcome: string): void =>
          metrics.record('hedge.database.call.duration', (clock.now().mono - start) / 1_000, { operation, outcome });
        result.then(
          () => measured('OK'),
          (error: unknown) => measured(codeOf(error)),
        );
        return result;
      };
      methods.set(key, method);
      return method;
    },
  });
}
