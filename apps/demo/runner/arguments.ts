import { parseArgs } from 'node:util';
import { DATABASES } from './database.js';

export interface Arguments {
  readonly tour: boolean;
  readonly backend: string;
  readonly help: boolean;
}

export const USAGE = `npm run demo                      starts three pods on this machine; Ctrl-C stops them
npm run demo -- --tour            runs a scripted tour of all features, kills pods meanwhile, and prints the results
npm run demo -- --backend NAME    selects the database of the pods: ${Object.keys(DATABASES).join(', ')} (default sqlite)`;

/** @throws Error that names the invalid argument. */
export function parseArguments(argv: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      tour: { type: 'boolean', default: false },
      backend: { type: 'string', default: 'sqlite' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (!Object.hasOwn(DATABASES, values.backend)) {
    throw new Error(`Unknown backend '${values.backend}'. Use one of: ${Object.keys(DATABASES).join(', ')}`);
  }
  return values;
}
