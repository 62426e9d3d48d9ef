import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pod } from '../../test/telemetry/pods.js';
import { freePort } from '../free-port.js';
import { withBrowser } from './browser.js';

const LEADERS = 'sum(hedge_leader)';
/** The panel "Margin left at each renewal" of docs/metrics/dashboard.json, for scrapes of a second. */
const MARGIN = 'histogram_quantile(0.05, sum by (le) (rate(hedge_lease_renewal_margin_seconds_bucket[8s])))';

/**
 * Prometheus with the metrics of three pods. For a while the leader stands still for a moment in each second, as on a busy
 * machine. Then it is killed.
 */
export async function photographMetrics(): Promise<Readonly<Record<string, Buffer>>> {
  const folder = await mkdtemp(join(tmpdir(), 'hedge-pictures-'));
  const pods: Pod[] = [];
  try {
    for (let i = 0; i < 3; i += 1) pods.push(await Pod.start(folder));
    return await withPrometheus(folder, pods, async (url) => {
      await until(async () => (await valueOf(url, LEADERS)) === 1);
      await sleep(30_000);
      const leader = await leaderOf(pods);
      for (let i = 0; i < 16; i += 1) {
        leader.process.kill('SIGSTOP');
        await sleep(800);
        leader.process.kill('SIGCONT');
        await sleep(450);
      }
      await sleep(15_000);
      await leader.kill();
      await sleep(20_000);
      return { 'metrics.png': await photographGraphs(url) };
    });
  } finally {
    await Promise.all(pods.map((pod) => pod.kill()));
    await rm(folder, { recursive: true, force: true });
  }
}

async function withPrometheus<Result>(
  folder: string,
  pods: readonly Pod[],
  work: (url: string) => Promise<Result>,
): Promise<Result> {
  const config = join(folder, 'prometheus.yml');
  const targets = pods.map(({ url }) => new URL(url).host);
  // YAML contains JSON.
  const scrape = { job_name: 'orders', static_configs: [{ targets }] };
  await writeFile(config, JSON.stringify({ global: { scrape_interval: '1s' }, scrape_configs: [scrape] }));
  const address = `127.0.0.1:${await freePort()}`;
  const data = join(folder, 'prometheus');
  const server = spawn('prometheus', [
    `--config.file=${config}`,
    `--storage.tsdb.path=${data}`,
    `--web.listen-address=${address}`,
    '--log.level=warn',
  ]);
  const ended = once(server, 'exit');
  server.stderr.pipe(process.stderr);
  try {
    return await work(`http://${address}`);
  } finally {
    server.kill();
    await ended;
  }
}

async function photographGraphs(url: string): Promise<Buffer> {
  return withBrowser(async (browser) => {
    const page = await browser.newPage({ viewport: { width: 1_000, height: 900 } });
    const graphs = [LEADERS, MARGIN].map((expr, at) =>
      Object.entries({ expr, tab: '0', range_input: '90s', step_input: '1' })
        .map(([name, value]) => `g${at}.${name}=${encodeURIComponent(value)}`)
        .join('&'),
    );
    await page.goto(`${url}/graph?${graphs.join('&')}`);
    await page.locator('svg').nth(1).waitFor();
    await sleep(2_000);
    await page.evaluate('document.activeElement.blur()');
    return page.screenshot({ fullPage: true });
  });
}

async function valueOf(url: string, expr: string): Promise<number | undefined> {
  const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(expr)}`);
  const { data } = (await response.json()) as { data: { result: readonly { value: readonly [number, string] }[] } };
  const [found] = data.result;
  return found === undefined ? undefined : Number(found.value[1]);
}

async function leaderOf(pods: readonly Pod[]): Promise<Pod> {
  for (const pod of pods) if ((JSON.parse(await pod.get('/state')) as { leads: boolean }).leads) return pod;
  throw new Error('No pod leads');
}

/** Waits for a state. Errors count as "not yet". */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds().catch(() => false))) await sleep(200);
}
