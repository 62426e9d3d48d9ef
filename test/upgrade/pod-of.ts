// A pod of the sources in a folder, of this version or another, on a database file: not started yet.
import 'reflect-metadata';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * Loads a module of those sources: of this version by its path here, of version 0.1 by its path there. It is given the
 * types of this version.
 */
export function loader(root: string): <T>(path: string, pathIn01?: string) => Promise<T> {
  return <T>(path: string, pathIn01 = path) => {
    const file = [path, pathIn01].map((one) => join(root, 'libs/hedge/src', one)).find((one) => existsSync(one));
    if (file === undefined) throw new Error(`${root} has neither ${path} nor ${pathIn01}`);
    return import(pathToFileURL(file).href) as Promise<T>;
  };
}

export async function podOf(root: string, file: string) {
  const load = loader(root);
  type Pods = typeof import('../../libs/hedge/src/pod/hedge-pod.js');
  type Strategies = typeof import('../../libs/hedge/src/nest/handlers/strategy.js');
  type Transports = typeof import('../../libs/hedge/src/pod/transport-factory.js');
  type Validation = typeof import('../../libs/hedge/src/nest/validate.js');
  type Sqlite = typeof import('../../libs/hedge/src/database/sqlite/index.js');
  const pods = await load<Pods & { HedgeRuntime?: Pods['HedgePod'] }>('pod/hedge-pod.ts', 'module/runtime.ts');
  const { HedgeStrategy } = await load<Strategies>('nest/handlers/strategy.ts', 'module/strategy.ts');
  const { grpcTransport } = await load<Transports>('pod/transport-factory.ts', 'module/transport-factory.ts');
  const { resolveOptions } = await load<Validation>('nest/validate.ts', 'module/validate.ts');
  const { sqlite } = await load<Sqlite>('database/sqlite/index.ts', 'backends/sqlite/index.ts');
  const settings = resolveOptions({
    group: 'upgrade',
    address: '127.0.0.1:0',
    timing: 'local',
    backend: sqlite({ file }),
  });
  const Pod = pods.HedgeRuntime ?? pods.HedgePod;
  return new Pod(settings, grpcTransport, new HedgeStrategy());
}
