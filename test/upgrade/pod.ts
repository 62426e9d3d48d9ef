// A pod of the sources in a folder, of this version or another, on a database file. It does what it is told, one at a time.
//
// Usage: pod.ts ROOT DATABASE
import { podOf } from './pod-of.js';

type Command = readonly ['put', string, string] | readonly ['get', string] | readonly ['leader'] | readonly ['stop'];

const [root = '', file = ''] = process.argv.slice(2);
const pod = await podOf(root, file);

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
