import { once } from 'node:events';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBuilt } from '../../../scripts/workspace.mjs';
import { parseArguments, USAGE, type Arguments } from './arguments.js';
import { Console } from './console.js';
import { DATABASES } from './database.js';
import { DemoCluster } from './demo-cluster.js';
import type { Pod } from './pod.js';
import { Ports } from './ports.js';
import { tour } from './tour.js';

/** Time limit of a stop before the pods are killed. Above the time limit of the pods themselves. */
const STOP_MS = 30_000;

// Ends the process explicitly, because an interrupted tour still waits for responses.
process.exit(await main(process.argv.slice(2)));

async function main(argv: readonly string[]): Promise<number> {
  let args: Arguments;
  try {
    args = parseArguments(argv);
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
  if (args.help) {
    console.log(USAGE);
    return 0;
  }
  try {
    ensureBuilt();
    return await run(args);
  } catch (error) {
    console.error(`The demo failed: ${(error as Error).message}`);
    return 1;
  }
}

async function run(args: Arguments): Promise<number> {
  const out = new Console();
  const database = await DATABASES[args.backend]!(args.url);
  const spillDirectory = await realpath(await mkdtemp(join(tmpdir(), 'hedge-demo-spill-')));
  const cluster = new DemoCluster(database, new Ports(), args.port, out, spillDirectory);
  const stop = stopSignal(() => void cluster.kill());
  process.on('exit', () => void cluster.kill()); // no pod outlives the demo, even after an error
  const stopped = once(stop, 'abort');
  try {
    out.line(`Three pods on ${database.name}`);
    if (args.tour) {
      const passed = await Promise.race([tour(cluster, out, stop), stopped.then(() => false)]);
      return passed ? 0 : 1;
    }
    for (let n = 0; n < 3; n += 1) await cluster.add();
    const ready = cluster.agree(60_000).then(({ leader }) => out.line(hints(leader, cluster)));
    await Promise.race([stopped, Promise.all([ready, stopped]), cluster.ended]);
    if (!stop.aborted) throw new Error('all pods have ended');
    return 0;
  } finally {
    const late = setTimeout(() => void cluster.kill(), STOP_MS);
    await cluster.stop();
    clearTimeout(late);
    await database.close();
    await rm(spillDirectory, { recursive: true, force: true });
  }
}

/** Aborts at the first Ctrl-C or other signal to end. Each further signal calls `again`. */
function stopSignal(again: () => void): AbortSignal {
  const controller = new AbortController();
  const onSignal = () => (controller.signal.aborted ? again() : controller.abort());
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, onSignal);
  process.stdout.on('error', () => controller.abort()); // the reader has ended, as with `| head`
  return controller.signal;
}

function hints(leader: Pod, cluster: DemoCluster): string {
  const [first, second, third] = cluster.pods.map((pod) => pod.url.replace('http://', ''));
  return `
The dashboard: ${cluster.pods[0]?.url}/hedge
${leader.name} is the leader. Try in another terminal:
  curl ${first}/put -d "samplekey samplevalue"
  curl ${second}/get -d samplekey
  curl -N "${first}/watch?prefix=rates/"            # in one terminal; then, on any pod:
  curl "${second}/put?ifAbsent" -d "rates/eur 1.08"         # once; then it is a CONFLICT; ?ifVersion=…&id=… of an entry
  curl "${first}/put?ttlMs=5000" -d "rates/chf 0.9"         # deleted after 5 s
  curl ${third}/transaction -d '[{"put":"rates/usd","value":"1"},{"delete":"rates/eur"}]'   # or /delete -d rates/eur
  curl "${first}/history?key=rates/eur"
  curl -X POST ${second}/resign                     # the leader steps down, and the watch goes on
  curl ${third}/send -d hello-world
  curl ${second}/broadcast -d hello-all
  seq 5 | curl -T . ${third}/streamsend             # to the leader; or /streambroadcast
  curl -N ${first}/semaphore -d "reports 2 5000"    # holds one of 2 permits for 5 s; call several pods at once
  curl -N ${second}/lock -d "invoices 5000"
  curl ${third}/leaderonly -d hello                 # runs on the leader, whichever pod you call
  curl "${first}/jobs?limit=4"                      # the history of a job that runs every 2 s
  curl -X POST ${second}/jobs/pause                 # and /jobs/resume, /jobs/run: for the whole group; GET /jobs/all shows it
  curl -N ${second}/sos -d 90                       # spills 90 MB, which is more than one pod can hold
  curl ${leader.url.replace('http://', '')}/block -d 5000                  # blocks the event loop of the leader for 5 s
  curl ${first}/cluster
  ${variables(cluster)} npx nestjs-hedge lock x -- sleep 5   # in two terminals: the second waits; or status, members, --help
  kill -9 ${leader.pid}
Ctrl-C stops all pods; a second Ctrl-C kills them.
`;
}

/** The connection of the command line, as the words before it. */
function variables({ env }: DemoCluster): string {
  return Object.entries(env)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}
