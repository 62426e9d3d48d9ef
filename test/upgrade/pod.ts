// A pod of the sources in a folder, of this version or another, on a database file. It does what it is told, one at a time.
//
// Usage: pod.ts ROOT DATABASE
import 'reflect-metadata';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

type Command = readonly ['put', string, string] | readonly ['get', string] | readonly ['leader'] | readonly ['stop'];

const [root = '', file = ''] = process.argv.slice(2);
// Of any version: so the names are looked up here, and have the types of this one.
const load = <T>(path: string): Promise<T> =>
  import(pathToFileURL(join(root, 'libs/hedge/src', path)).href) as Promise<T>;
const { HedgeRuntime: Runtime } =
  await load<typeof import('../../libs/hedge/src/module/runtime.js')>('module/runtime.ts');
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
const pod = new Runtime(settings, grpcTransport, new HedgeStrategy());

async function obey(command: Command): Promise<unknown> {
  switch (command[0]) {
    case 'put':
      return await pod.kv.put(command[1], command[2]).then(() => 'put');
    case 'get':
      return (await pod.kv.get(command[1]))?.value;
    case 'leader':
      return { leads: pod.leader.isLeader(), members: pod.cluster.members().length };
    case 'stop':
    default:
      await pod.leave();
      await pod.close();
      return 'stopped';
  }
}

process.on('message', (command: Command) => {
  obey(command).then(
    (done) => process.send?.({ done }),
    (failed: unknown) => process.send?.({ failed: String(failed) }),
  );
});
// The channel to the test is what keeps this process: without the test it ends.
process.on('disconnect', () => process.exit());
await pod.start();
process.send?.('started');
