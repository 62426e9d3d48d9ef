// A pod of the sources in a folder, of this version or another, on a database file: not started yet.
import 'reflect-metadata';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Loads a module of those sources. Of any version: so its path is looked up here, and it has the types of this one. */
export function loader(root: string): <T>(path: string) => Promise<T> {
  return <T>(path: string) => import(pathToFileURL(join(root, 'libs/hedge/src', path)).href) as Promise<T>;
}

export async function podOf(root: string, file: string) {
  const load = loader(root);
  const { HedgeRuntime } = await load<typeof import('../../libs/hedge/src/module/runtime.js')>('module/runtime.ts');
  const { HedgeStrategy } = await load<typeof import('../../libs/hedge/src/module/strategy.js')>('module/strategy.ts');
  const { grpcTransport } =
    await load<typeof import('../../libs/hedge/src/module/transport-factory.js')>('module/transport-factory.ts');
  const { resolveOptions } = await load<typeof import('../../libs/hedge/src/module/validate.js')>('module/validate.ts');
  const { sqlite } =
    await load<typeof import('../../libs/hedge/src/backends/sqlite/index.js')>('backends/sqlite/index.ts');
  const settings = resolveOptions({
    group: 'upgrade',
    address: '127.0.0.1:0',
    timing: 'local',
    backend: sqlite({ file }),
  });
  return new HedgeRuntime(settings, grpcTransport, new HedgeStrategy());
}
