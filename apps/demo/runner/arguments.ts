import { parseArgs } from 'node:util';
import { DATABASES } from './database.js';
import { HTTP_OFFSET } from './ports.js';

/** Leaves room for the pods of a tour above the first HTTP port. */
const LAST_PORT = 64_000;

export interface Arguments {
  readonly tour: boolean;
  readonly backend: string;
  /** Of a PostgreSQL server to use; absent to start one. */
  readonly url?: string | undefined;
  /** The first port to try for gRPC. */
  readonly port: number;
  readonly help: boolean;
}

export const USAGE = `npm run demo                      starts three pods on this machine; Ctrl-C stops them
npm run demo -- --tour            runs a scripted tour of all features, kills pods meanwhile, and prints the results
npm run demo -- --backend NAME    selects the database of the pods: ${Object.keys(DATABASES).join(', ')} (default sqlite)
npm run demo -- --backend postgres --url postgres://…   runs on your own server, in a schema that it drops at the end
npm run demo -- --port NUMBER     assigns ports from this number (default 8080), and from ${HTTP_OFFSET} above it for HTTP`;

/** @throws Error that names the invalid argument. */
export function parseArguments(argv: readonly string[]): Arguments {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      tour: { type: 'boolean', default: false },
      backend: { type: 'string', default: 'sqlite' },
      url: { type: 'string' },
      port: { type: 'string', default: '8080' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (!Object.hasOwn(DATABASES, values.backend)) {
    throw new Error(`Unknown backend '${values.backend}'. Use one of: ${Object.keys(DATABASES).join(', ')}`);
  }
  if (values.url !== undefined && values.backend !== 'postgres') {
    throw new Error('--url goes with --backend postgres');
  }
  const port = Number(values.port);
  if (!Number.isInteger(port) || port < 1 || port > LAST_PORT) {
    throw new Error(`--port is '${values.port}'. Give a number from 1 to ${LAST_PORT}`);
  }
  return { ...values, port };
}
