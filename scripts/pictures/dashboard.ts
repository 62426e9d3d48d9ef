import type { Page } from 'playwright-core';
import { DATABASES } from '../../apps/demo/runner/database.js';
import type { DemoCluster } from '../../apps/demo/runner/demo-cluster.js';
import { withBrowser } from './browser.js';
import { withDemo } from './demo.js';

const WIDTH = 1_100;

/** The page of three pods of the demo, after a leader was killed and a new pod has come. */
export async function photographDashboard(): Promise<Readonly<Record<string, Buffer>>> {
  return withDemo(await DATABASES['sqlite']!(), async (cluster) => {
    const { leader } = await cluster.agree(60_000);
    await leader.kill();
    await cluster.add();
    await cluster.agree(60_000);
    const traffic = makeTraffic(cluster);
    try {
      return await withBrowser(async (browser) => {
        const [pod] = cluster.pods;
        const page = await browser.newPage({ viewport: { width: WIDTH, height: 300 }, colorScheme: 'light' });
        await page.goto(`${pod!.url}/hedge`);
        await page.locator('#terms tbody tr').nth(1).waitFor();
        // Each member has answered, and the jobs and messages have a history.
        await page.waitForTimeout(30_000);
        const overview = await page.screenshot({ fullPage: true });
        const messages = await view(page, 'messages', '#topics tbody tr');
        await page.emulateMedia({ colorScheme: 'dark' });
        const jobs = await view(page, 'jobs', '#view-jobs tbody tr');
        return { 'dashboard.png': overview, 'dashboard-messages.png': messages, 'dashboard-jobs.png': jobs };
      });
    } finally {
      await traffic.stop();
    }
  });
}

async function view(page: Page, name: string, row: string): Promise<Buffer> {
  await page.locator(`nav a[href="#${name}"]`).click();
  await page.locator(row).first().waitFor();
  await page.mouse.move(0, 0);
  return page.screenshot({ fullPage: true });
}

/** Sends messages to the leader and to all pods, until it is stopped. */
function makeTraffic({ pods }: DemoCluster): { stop(): Promise<void> } {
  const end = new AbortController();
  const runs = pods.map(async (pod, place) => {
    for (let i = 0; !end.signal.aborted; i += 1) {
      await pod.request('/send', `order ${i}`);
      if (i % 4 === place) await pod.request('/broadcast', 'flush');
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  });
  return {
    stop: async () => {
      end.abort();
      await Promise.all(runs);
    },
  };
}
