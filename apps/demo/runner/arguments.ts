import { parseArgs } from 'node:util';
import { DATABASES } from './database.js';

export interface Arguments {
  readonly tour: boolean;
  readonly backend: string;
  /** Of a PostgreSQL server to use; absent to start one. */
  readonly url?: string | undefined;
  readonly help: boolean;
}

export const USAGE = `npm run demo                      starts three pods on this machine; Ctrl-C stops them
npm run demo -- --tour            runs a scripted tour of all features, kills pods meanwhile, and prints the results
npm run demo -- --backend NAME    selects the database of the pods: ${Object.keys(DATABASES).join(', ')} (default sqlite)
npm run demo -- --backend postgres --url postgres://…   runs on your own server, in a schema that it drops at the end`;

/** @throws Error that names the invalid argument. */
export function parseArguments(argv: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      tour: { type: 'boolean', default: false },
      backend: { type: 'string', default: 'sqlite' },
      url: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (!Object.hasOwn(DATABASES, values.backend)) {
    throw new Error(`Unknown backend '${values.backend}'. Use one of: ${Object.keys(DATABASES).join(', ')}`);
  }
  if (values.url !== undefined && values.backend !== 'postgres') {
    throw new Error('--url goes with --backend postgres');
  }
  return values;
}
