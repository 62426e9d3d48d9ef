// A pod of the sources in a folder, of this version or another, on a database file: not started yet.
import 'reflect-metadata';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { PodHandlers } from '../../libs/hedge/src/pod/handlers.js';
import type { HedgePod } from '../../libs/hedge/src/pod/hedge-pod.js';
import type { PodSettings } from '../../libs/hedge/src/pod/settings.js';
import type { TransportFactory } from '../../libs/hedge/src/pod/transport-factory.js';

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

/** What version 0.1 has in the place of `HedgePod`. */
type RuntimeOf01 = new (settings: PodSettings, transport: TransportFactory, strategy: object) => HedgePod;

const none = async (): Promise<never> => {
  throw new Error('This pod has no handlers');
};
const noStreams = { check: () => undefined, run: none };
const noHandlers = (): PodHandlers => ({
  leaderMessage: none,
  broadcast: none,
  leaderStream: noStreams,
  broadcastStream: noStreams,
});

export async function podOf(root: string, file: string) {
  const load = loader(root);
  type Loggers = typeof import('../../libs/hedge/src/nest/logger.js');
  type Pods = typeof import('../../libs/hedge/src/pod/hedge-pod.js');
  type Strategies = typeof import('../../libs/hedge/src/nest/handlers/strategy.js');
  type Transports = typeof import('../../libs/hedge/src/pod/transport-factory.js');
  type Validation = typeof import('../../libs/hedge/src/nest/validate.js');
  type Sqlite = typeof import('../../libs/hedge/src/database/sqlite/index.js');
  const pods = await load<Pods & { HedgeRuntime?: RuntimeOf01 }>('pod/hedge-pod.ts', 'module/runtime.ts');
  const { grpcTransport } = await load<Transports>('pod/transport-factory.ts', 'module/transport-factory.ts');
  const { resolveOptions } = await load<Validation>('nest/validate.ts', 'module/validate.ts');
  const { sqlite } = await load<Sqlite>('database/sqlite/index.ts', 'backends/sqlite/index.ts');
  const settings = resolveOptions({
    group: 'upgrade',
    address: '127.0.0.1:0',
    timing: 'local',
    backend: sqlite({ file }),
  });
  if (pods.HedgeRuntime !== undefined) {
    const { HedgeStrategy } = await load<Strategies>('nest/handlers/strategy.ts', 'module/strategy.ts');
    return new pods.HedgeRuntime(settings, grpcTransport, new HedgeStrategy());
  }
  const { nestLogger } = await load<Loggers>('nest/logger.ts');
  return new pods.HedgePod({
    settings,
    makeTransport: grpcTransport,
    makeHandlers: noHandlers,
    makeLogger: nestLogger,
  });
}
