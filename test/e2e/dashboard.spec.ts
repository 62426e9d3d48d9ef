import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import axe from 'axe-core';
import { type Browser, chromium, type Page } from 'playwright-core';
import type { GroupState } from 'nestjs-hedge/dashboard';
import { Pod } from '../../apps/demo/runner/pod.js';
import { Ports } from '../../apps/demo/runner/ports.js';
import { isBuilt } from '../../scripts/workspace.mjs';
import {
  ClusterService,
  JobsService,
  KvStore,
  LeaderService,
  LockService,
  SemaphoreService,
  SpillStore,
} from 'nestjs-hedge';
import { PATIENT, until } from '../nest/apps.js';
import { DashboardPods, prefixed } from '../nest/dashboard-apps.js';

/** Path of the browser; undefined where it is not installed. */
const CHROMIUM = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'chromium'))
  .find((path) => existsSync(path));

const VIEWS = ['overview', 'locks', 'jobs', 'keys', 'messages', 'spill', 'actions'];

/** The part of the result of axe that the test reads: https://github.com/dequelabs/axe-core/blob/develop/doc/API.md */
interface AxeResults {
  readonly violations: readonly { readonly id: string; readonly nodes: readonly { readonly html: string }[] }[];
}

function textOf(page: Page, selector: string): Promise<string | null> {
  return page.locator(selector).textContent();
}

/** The width of the page that is out of sight, in pixels. */
function overflow(page: Page): Promise<number> {
  return page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
}

async function show(page: Page, view: string): Promise<void> {
  await page.locator(`nav a[href="#${view}"]`).click();
  await page.locator(`#view-${view}`).waitFor({ state: 'visible' });
}

if (CHROMIUM === undefined) it.skip('chromium is not installed here. Run: apt-get install chromium', () => undefined);

(CHROMIUM === undefined ? describe.skip : describe)('the dashboard in a browser', () => {
  let browser: Browser;
  const problems: string[] = [];

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ['--no-sandbox'] });
  });
  afterAll(() => browser.close());

  /** Opens the page, and collects its errors. */
  async function open(url: string, options: Parameters<Browser['newPage']>[0] = {}): Promise<Page> {
    const page = await browser.newPage(options);
    page.on('pageerror', ({ message }) => problems.push(message));
    page.on('dialog', (dialog) => {
      problems.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('console', (message) => {
      if (message.type() === 'error' && message.text().includes('Content Security')) problems.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  describe('of three processes', () => {
    const pods: Pod[] = [];
    let folder: string;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'hedge-dashboard-'));
      if (!isBuilt()) throw new Error('The pods run the build, and it is older than the sources. Run: npm run build');
      const ports = new Ports();
      for (const name of ['one', 'two', 'three']) {
        const [grpcPort, httpPort] = [await ports.next(8180), await ports.next(9190)];
        const env = { HEDGE_SQLITE_FILE: join(folder, 'hedge.db'), HEDGE_GROUP: 'demo', HEDGE_TIMING: 'local' };
        pods.push(new Pod({ name, grpcPort, httpPort, env, onLine: () => undefined }));
      }
      await until(async () => {
        const states = await Promise.all(pods.map((pod) => pod.cluster().catch(() => undefined)));
        return states.every((state) => state?.view.settled && state.view.members.length === 3);
      }, 'three pods know each other');
    });
    afterAll(async () => {
      for (const pod of pods) if (pod.running) await pod.kill();
      await rm(folder, { recursive: true, force: true });
    });

    it('shows the next leader after the leader was killed, without a reload', async () => {
      const states = await Promise.all(pods.map((pod) => pod.cluster()));
      const leader = pods[states.findIndex(({ isLeader }) => isLeader)]!;
      const follower = pods.find((pod) => pod !== leader)!;
      const page = await open(`${follower.url}/hedge`);
      await page.locator('#members tr.answering').waitFor();
      const before = await textOf(page, '#leader');
      expect(before).toBe(states[0]!.leader!.address);
      await until(async () => (await page.locator('#members td:has-text("follower")').count()) === 2, 'two followers');
      await until(async () => /^[0-9.]+ s of/.test((await textOf(page, '#lease'))!), 'the time left of the lease');
      await leader.kill();
      await until(async () => (await textOf(page, '#lease')) === 'no renewal seen', 'the end of the lease');
      await until(async () => !['None known', before].includes(await textOf(page, '#leader')), 'the next leader');
      await until(async () => (await page.locator('#members tbody tr').count()) === 2, 'two members');
      expect(await page.locator('#terms tbody tr').count()).toBe(2);
      await until(async () => (await textOf(page, '#news'))!.startsWith('The leader is now'), 'the spoken news');
      expect(problems).toEqual([]);
      await page.close();
    });

    it('says that the pod of the page does not answer, and shows no lease', async () => {
      const page = await open(`${pods.find(({ running }) => running)!.url}/hedge`);
      await until(async () => /^[0-9.]+ s of/.test((await textOf(page, '#lease'))!), 'the time left of the lease');
      await page.context().setOffline(true);
      await show(page, 'jobs');
      await until(async () => (await textOf(page, '#alert'))!.startsWith('This pod does not answer.'), 'the reason');
      await page.close();
    });

    it('pauses a job by the keyboard, after a confirmation', async () => {
      const pod = pods.find(({ running }) => running)!;
      const page = await open(`${pod.url}/hedge#jobs`);
      const pause = page.getByRole('button', { name: 'Pause tick' });
      await pause.focus();
      await page.keyboard.press('Enter');
      await page.locator('#dialog[open]').waitFor();
      await page.keyboard.type('by keyboard');
      await page.keyboard.press('Enter');
      await page.getByRole('button', { name: 'Resume tick' }).waitFor();
      await show(page, 'actions');
      await page.locator('#actions td:has-text("by keyboard")').first().waitFor();
      expect(await textOf(page, '#actions')).toContain('pause tick');
      expect(problems).toEqual([]);
      await page.close();
    });
  });

  describe.each(['Express', 'Fastify'] as const)('on %s behind a prefix', (adapter) => {
    const pods = new DashboardPods({ timing: PATIENT });
    let url = '';
    beforeAll(async () => {
      for (let i = 0; i < 3; i += 1) url = `${await pods.serve(adapter, { actions: true }, prefixed)}/ops/hedge`;
      await until(() => pods.apps.every((app) => app.get(ClusterService).members().length === 3), 'three pods');
    });
    afterAll(() => pods.close());

    it('shows texts of the group as texts, in all views, both themes and at 360 px', async () => {
      const backgrounds = new Set<unknown>();
      for (const colorScheme of ['light', 'dark'] as const) {
        const page = await open(url, { colorScheme, viewport: { width: 360, height: 800 } });
        await page.locator('#members tr.answering').waitFor();
        backgrounds.add(await page.evaluate('getComputedStyle(document.body).backgroundColor'));
        for (const view of VIEWS) {
          await show(page, view);
          expect(await overflow(page)).toBeLessThanOrEqual(0);
        }
        await show(page, 'messages');
        await page.locator('#topics td:has-text("onerror=alert(1)")').waitFor();
        expect(await page.locator('img').count()).toBe(0);
        await page.close();
      }
      expect(backgrounds.size).toBe(2);
      expect(problems).toEqual([]);
    });
  });

  describe('for screen readers', () => {
    const pods = new DashboardPods({ timing: PATIENT });
    let url = '';
    beforeAll(async () => {
      for (let i = 0; i < 2; i += 1) url = `${await pods.serve('Express', { actions: true })}/hedge`;
      await until(() => pods.apps.every((app) => app.get(ClusterService).members().length === 2), 'two pods');
      const [app] = pods.apps;
      await app!.get(LeaderService).send('price');
      await app!.get(LockService).acquire('invoices');
      await app!.get(SemaphoreService).get('reports', { limit: 2 }).acquire();
      await app!.get(KvStore).put('orders/1', '{"qty":1}');
      await app!.get(JobsService).runNow('failing report');
      const data = await app!.get(SpillStore).create('import');
      await data.write(Buffer.from('an order'));
      await data.close();
    });
    afterAll(() => pods.close());

    it.each(['light', 'dark'] as const)(
      'has no violation that axe finds, in each view in the %s theme',
      async (theme) => {
        const page = await open(url, { colorScheme: theme, bypassCSP: true });
        await page.locator('#members tr.answering').waitFor();
        await page.evaluate(axe.source);
        for (const view of VIEWS) {
          await show(page, view);
          await page
            .locator(`#view-${view} table, #view-${view} li`)
            .first()
            .or(page.locator('#actions p'))
            .first()
            .waitFor();
          const { violations } = await page.evaluate<AxeResults>('axe.run()');
          expect([view, violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])]).toEqual([view, []]);
        }
        await page.locator('#leader-actions').waitFor({ state: 'attached' });
        await show(page, 'overview');
        await page.getByRole('button', { name: 'Make the leader resign' }).click();
        const { violations } = await page.evaluate<AxeResults>('axe.run()');
        expect(violations.map(({ id }) => id)).toEqual([]);
        await page.close();
      },
    );

    it('has landmarks, headings, tables with headers, and a bar with its value, also at 360 px', async () => {
      for (const width of [360, 1280]) {
        const page = await open(url, { viewport: { width, height: 800 } });
        await until(async () => (await page.locator('#members td:has-text("follower")').count()) === 1, 'a follower');
        const tree = await page.locator('body').ariaSnapshot();
        for (const part of [
          '- banner:',
          '- navigation "Views":',
          '- main:',
          '- heading "Members"',
          '- table "Members"',
          '- columnheader "Round trip"',
          '- table "Changes of the leader"',
        ]) {
          expect(tree).toContain(part);
        }
        expect(tree).toMatch(/- status: Live from 127\.0\.0\.1:/);
        expect(tree).toMatch(/- progressbar "Lease, time left"/);
        expect(tree).toMatch(/- rowheader "127\.0\.0\.1:\d+/);
        expect(await page.locator('#lease-bar').getAttribute('aria-valuenow')).toMatch(/^\d+$/);
        await page.close();
      }
    });

    it('shows the versions of a key that was deleted, and is not in the list of keys', async () => {
      const kv = pods.apps[0]!.get(KvStore);
      await kv.put('gone', 'the last value');
      await kv.delete('gone');
      const page = await open(`${url}#keys`);
      await page.getByLabel('Keys that begin with').fill('gone');
      await page.getByRole('button', { name: 'Search' }).click();
      await page.locator('#keys-none').waitFor({ state: 'visible' });
      await page.getByRole('button', { name: 'Versions of this key' }).click();
      await page.locator('#versions h2:has-text("gone")').waitFor();
      const [deletion, value] = await page.locator('#versions .card').allTextContents();
      expect(deletion).toContain('deleted');
      expect(value).toContain('the last value');
      expect(await page.locator('#versions .card').count()).toBe(2);
      await page.close();
    });

    it('moves the focus to the heading of a view that was chosen', async () => {
      const page = await open(url);
      await page.locator('#members tr.answering').waitFor();
      await page.getByRole('link', { name: 'Messages' }).focus();
      await page.keyboard.press('Enter');
      await page.locator('#view-messages').waitFor({ state: 'visible' });
      expect(await page.evaluate('document.activeElement.id')).toBe('h-messages');
      await page.close();
    });
  });

  it('shows 300 members, and filters them', async () => {
    const pods = new DashboardPods({ timing: PATIENT });
    const url = `${await pods.serve('Express')}/hedge`;
    try {
      const state = (await (await fetch(`${url}/api/state`)).json()) as GroupState;
      const [member] = state.details!.members;
      const members = Array.from({ length: 300 }, (_, i) => ({
        ...member!,
        address: `10.0.${Math.floor(i / 100)}.${i % 100}:7400`,
        incarnation: `incarnation ${i}`,
        answering: i === 0,
      }));
      const page = await browser.newPage({ viewport: { width: 360, height: 800 } });
      const body = `data: ${JSON.stringify({ ...state, memberCount: 300, details: { ...state.details, members } })}\n\n`;
      await page.route('**/api/events', (route) => route.fulfill({ contentType: 'text/event-stream', body }));
      await page.goto(url);
      await until(async () => (await page.locator('#members tbody tr').count()) === 300, '300 rows');
      expect(await overflow(page)).toBeLessThanOrEqual(0);
      await page.locator('#member-filter').fill('10.0.2.99');
      await until(async () => (await page.locator('#members tbody tr').count()) === 1, 'one row');
      expect(await textOf(page, '#member-shown')).toBe('1 of 300');
      await page.close();
    } finally {
      await pods.close();
    }
  });
});
