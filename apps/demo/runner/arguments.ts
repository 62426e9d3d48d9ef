import { parseArgs } from 'node:util';
import { DATABASES } from './database.js';

export interface Arguments {
  readonly tour: boolean;
  readonly backend: string;
  readonly help: boolean;
}

export const USAGE = `npm run demo                      three pods on this machine, until Ctrl-C
npm run demo -- --tour            the tour: all that there is, while pods are killed; then stop
npm run demo -- --backend NAME    the database of the pods: ${Object.keys(DATABASES).join(', ')} (default sqlite)`;

/** @throws Error that says which argument is wrong. */
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
    throw new Error(`Unknown backend '${values.backend}': there is ${Object.keys(DATABASES).join(', ')}`);
  }
  return values;
}
