import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parse } from 'yaml';
import { Ports } from '../../apps/demo/runner/ports.js';
import { buildImage, type Image } from './image.js';
import { productionPackages } from './production-packages.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const MIB = 1024 * 1024;

/** The compared settings of the pods of the Deployment. */
interface Container {
  readonly ports: readonly { readonly containerPort: number }[];
  readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
}

describe('the image of the demo, built by its Dockerfile', () => {
  const pod = podOf(join(root, 'apps/demo/k8s/deployment.yaml'));
  let temp: string;
  let image: Image;

  beforeAll(async () => {
    temp = mkdtempSync(join(tmpdir(), 'hedge-image-'));
    mkdirSync(join(temp, 'run'));
    image = await buildImage(root, 'apps/demo/Dockerfile', temp);
  }, 300_000);

  afterAll(() => rmSync(temp, { recursive: true, force: true }));

  it('contains exactly the run-time packages of the demo, in their locked versions', () => {
    const needed = productionPackages(join(root, 'package-lock.json'), 'apps/demo');
    const packages = join(image.workdir, 'node_modules');
    const installed = readInstalled(packages);
    expect(Object.keys(installed)).toEqual(
      expect.arrayContaining(['node_modules/@nestjs/core', 'node_modules/libsql']),
    );
    for (const [path, version] of Object.entries(installed)) expect([path, version]).toEqual([path, needed.get(path)]);
    for (const name of ['typescript', 'jest', '@nestjs/cli']) expect(existsSync(join(packages, name))).toBe(false);
  });

  it('contains no sources, no tests and no tools', () => {
    const own = files(image.workdir).filter((file) => !file.startsWith('node_modules/'));
    expect(own).toEqual(expect.arrayContaining(['apps/demo/dist/main.js', 'libs/hedge/dist/index.js']));
    expect(own.filter((file) => !/^(apps\/demo|libs\/hedge)\/(dist\/|package\.json$)/.test(file))).toEqual([]);
    expect(own.filter((file) => /\.spec\./.test(file))).toEqual([]);
  });

  it('is small', () => {
    const bytes = files(image.root).reduce((sum, file) => sum + statSync(join(image.root, file)).size, 0);
    console.info(`Files of the image above its base: ${(bytes / MIB).toFixed(1)} MiB`);
    expect(bytes).toBeLessThan(160 * MIB);
  });

  it('runs as a user other than root, and names the ports of the pods', () => {
    expect(image.user).toMatch(/^[1-9]\d*(:[1-9]\d*)?$/);
    const ports = pod.container.ports.map(({ containerPort }) => containerPort);
    expect(new Set(image.ports)).toEqual(new Set(ports));
  });

  it('starts with its own command, serves requests, and ends with code 0 within the grace period of the pod', async () => {
    const before = files(image.root);
    const ports = new Ports();
    const [http, grpc] = [await ports.next(28_080), await ports.next(28_080)];
    const container = start(image, {
      HEDGE_BACKEND: 'sqlite',
      HEDGE_SQLITE_FILE: join(temp, 'run/hedge.db'),
      HEDGE_ADDRESS: `:${grpc}`,
      POD_IP: '127.0.0.1',
      PORT: `${http}`,
    });
    try {
      const url = `http://127.0.0.1:${http}`;
      await container.ready(`${url}/readyz`);
      expect((await fetch(`${url}/healthz`)).status).toBe(200);
      const put = await fetch(`${url}/put`, { method: 'POST', body: 'greeting hello' }); // waits for a leader
      expect(put.status).toBe(201);
      const cluster = (await (await fetch(`${url}/cluster`)).json()) as object;
      expect(cluster).toMatchObject({ isLeader: true, self: { address: `127.0.0.1:${grpc}` } });

      const grace = (pod.terminationGracePeriodSeconds - pod.container.lifecycle.preStop.sleep.seconds) * 1_000;
      expect(await container.stop(grace)).toEqual({ code: 0, signal: null });
      expect(files(image.root)).toEqual(before); // its file system is read-only in the pods
    } catch (error) {
      throw new Error(`The pod wrote:\n${container.output()}`, { cause: error });
    } finally {
      await container.kill();
    }
  }, 120_000);
});

function podOf(manifest: string) {
  const deployment = parse(readFileSync(manifest, 'utf8')) as {
    spec: { template: { spec: { terminationGracePeriodSeconds: number; containers: [Container] } } };
  };
  const { terminationGracePeriodSeconds, containers } = deployment.spec.template.spec;
  return { terminationGracePeriodSeconds, container: containers[0] };
}

/** The packages that npm installed: path and version, without the folders of the repository. */
function readInstalled(packages: string): Record<string, string> {
  const lock = JSON.parse(readFileSync(join(packages, '.package-lock.json'), 'utf8')) as {
    packages: Record<string, { version?: string; link?: boolean }>;
  };
  const entries = Object.entries(lock.packages).filter(([path, { link }]) => !link && path.startsWith('node_modules/'));
  return Object.fromEntries(entries.map(([path, { version = '' }]) => [path, version]));
}

/** The files below a folder, without links. */
function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

/** Runs the command of the image as a container would: in its folder, with its environment and that of the pod. */
function start({ argv, workdir, env }: Image, settings: Record<string, string>) {
  const [program = '', ...args] = argv;
  const child: ChildProcess = spawn(program, args, {
    cwd: workdir,
    env: { ...process.env, ...env, ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const ended = once(child, 'exit').then(([code, signal]) => ({ code: code as unknown, signal: signal as unknown }));
  const running = () => child.exitCode === null && child.signalCode === null;

  return {
    output: () => output,
    /** Polls until the response is a success. */
    async ready(url: string): Promise<void> {
      const signal = AbortSignal.timeout(60_000);
      while (running() && !signal.aborted) {
        const answer = await fetch(url, { signal }).catch(() => undefined);
        if (answer?.ok) return;
        await sleep(100);
      }
      throw new Error(`${url} was not ready within 60 s`);
    },
    /** Sends SIGTERM, and returns the ending within the time limit. */
    async stop(withinMs: number): Promise<unknown> {
      child.kill('SIGTERM');
      return Promise.race([ended, sleep(withinMs, `still runs after ${withinMs} ms`, { ref: false })]);
    },
    async kill(): Promise<void> {
      if (running()) child.kill('SIGKILL');
      await ended;
    },
  };
}
