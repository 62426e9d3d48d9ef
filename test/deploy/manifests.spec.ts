import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import * as core from 'kubernetes-models';
import { Deployment } from 'kubernetes-models/apps/v1';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1';
import { ConfigService } from '@nestjs/config';
import type { TimingPreset } from 'nestjs-hedge';
import { memory } from 'nestjs-hedge/memory';
import { parse } from 'yaml';
import { hedgeOptions } from '../../apps/demo/src/hedge.options.js';
import { bytesOf } from '../../libs/hedge/src/spill/service/spill-create-options.js';
import { resolveOptions } from '../../libs/hedge/src/nest/validate.js';

const folder = fileURLToPath(new URL('../../apps/demo/k8s/', import.meta.url));

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

const kinds = {
  ConfigMap: core.v1.ConfigMap,
  Deployment,
  Namespace: core.v1.Namespace,
  NetworkPolicy,
  PodDisruptionBudget,
  Service: core.v1.Service,
  ServiceAccount: core.v1.ServiceAccount,
};

function load(file: string): Manifest {
  return parse(readFileSync(folder + file, 'utf8')) as Manifest;
}

/** A manifest, checked against the schema of Kubernetes. */
function valid<Kind extends keyof typeof kinds>(kind: Kind, file: string): InstanceType<(typeof kinds)[Kind]> {
  const manifest = load(file);
  expect(manifest.kind).toBe(kind);
  const Model = kinds[kind] as unknown as new (json: object) => InstanceType<(typeof kinds)[Kind]>;
  const model = new Model(manifest);
  model.validate();
  return model;
}

/** Settings that record the requested names. */
class RecordingConfig extends ConfigService {
  readonly names = new Set<string>();

  override get(name: string, ...rest: unknown[]): never {
    this.names.add(name);
    return super.get(name, ...(rest as [never]));
  }
}

describe('Kubernetes manifests of the demo', () => {
  const deployment = valid('Deployment', 'deployment.yaml');
  const pod = deployment.spec!.template.spec!;
  const container = pod.containers[0]!;
  const labels = deployment.spec!.template.metadata!.labels!;

  it('are all listed in the kustomization, and all in its namespace', () => {
    const kustomization = load('kustomization.yaml') as Manifest & { resources: string[]; namespace: string };
    const files = readdirSync(folder).filter((file) => file !== 'kustomization.yaml');
    expect([...kustomization.resources].sort()).toEqual(files.sort());
    for (const file of files) {
      const { kind, metadata } = load(file);
      expect(kind === 'Namespace' ? metadata.name : metadata.namespace).toBe(kustomization.namespace);
      expect(Object.keys(kinds)).toContain(kind);
    }
  });

  it('are rejected by the schema when a field is misspelt', () => {
    const wrong = { ...load('deployment.yaml'), spec: { replicas: 'three' } };
    expect(() => new Deployment(wrong as never).validate()).toThrow();
  });

  it('select the pods of the Deployment by the same labels everywhere', () => {
    expect(deployment.spec!.selector.matchLabels).toEqual(labels);
    expect(valid('Service', 'service.yaml').spec!.selector).toEqual(labels);
    expect(valid('PodDisruptionBudget', 'disruption-budget.yaml').spec!.selector!.matchLabels).toEqual(labels);
    const policy = valid('NetworkPolicy', 'network-policy.yaml').spec!;
    expect(policy.podSelector.matchLabels).toEqual(labels);
    expect(policy.ingress![0]!.from).toEqual([{ podSelector: { matchLabels: labels } }]);
    for (const { labelSelector } of pod.topologySpreadConstraints!) expect(labelSelector!.matchLabels).toEqual(labels);
  });

  it('open the gRPC port to the group only, and HTTP to all', () => {
    const [members, everybody] = valid('NetworkPolicy', 'network-policy.yaml').spec!.ingress!;
    expect(members!.ports).toEqual([{ port: 'hedge' }]);
    expect(everybody!.from).toBeUndefined();
    expect(everybody!.ports).toEqual([{ port: 'http' }]);
  });

  it('name ports that match the settings of the pod', () => {
    const settings = valid('ConfigMap', 'config.yaml').data!;
    const port = (name: string) => container.ports!.find((each) => each.name === name)!.containerPort;
    expect(settings['HEDGE_ADDRESS']).toBe(`:${port('hedge')}`);
    expect(settings['PORT']).toBe(String(port('http')));
    expect(valid('Service', 'service.yaml').spec!.ports![0]!.targetPort).toBe('http');
    expect(container.envFrom).toEqual([{ configMapRef: { name: load('config.yaml').metadata.name } }]);
  });

  it('set exactly the variables that the demo reads', () => {
    const settings = valid('ConfigMap', 'config.yaml').data!;
    const config = new RecordingConfig(settings);
    expect(hedgeOptions(config)).toMatchObject({
      group: settings['HEDGE_GROUP'],
      address: settings['HEDGE_ADDRESS'],
      timing: settings['HEDGE_TIMING'],
      spill: {
        memory: settings['HEDGE_SPILL_MEMORY'],
        disk: settings['HEDGE_SPILL_DISK'],
        directory: settings['HEDGE_SPILL_DIRECTORY'],
      },
    });
    const main = readFileSync(new URL('../../apps/demo/src/main.ts', import.meta.url), 'utf8');
    const read = [...config.names, ...[...main.matchAll(/\('(\w+)', \d+\)/g)].map(([, name]) => name)];
    expect(read).toEqual(expect.arrayContaining(Object.keys(settings)));
    expect(() => hedgeOptions(new RecordingConfig({ ...settings, HEDGE_SPANNER_DATABASE: 'd' }))).toThrow('not "d"');
  });

  it('mount a volume at the spill directory, large enough for the configured disk', () => {
    const settings = valid('ConfigMap', 'config.yaml').data!;
    const volume = pod.volumes!.find(({ emptyDir }) => emptyDir !== undefined)!;
    const sizeLimit = String(volume.emptyDir!.sizeLimit);
    expect(container.volumeMounts).toEqual([{ name: volume.name, mountPath: settings['HEDGE_SPILL_DIRECTORY'] }]);
    expect(bytesOf(`${sizeLimit}B`)!).toBeGreaterThan(bytesOf(settings['HEDGE_SPILL_DISK'])!);
    const reserved = String(container.resources!.requests!['ephemeral-storage']);
    expect(bytesOf(`${reserved}B`)!).toBeGreaterThanOrEqual(bytesOf(`${sizeLimit}B`)!);
  });

  it('pass its own address to the pod, and run it with the account that has the role', () => {
    expect(container.env).toContainEqual({ name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } });
    expect(pod.serviceAccountName).toBe(valid('ServiceAccount', 'service-account.yaml').metadata!.name);
  });

  it('use /readyz for readiness and /healthz for liveness, which the demo serves', () => {
    const controller = readFileSync(new URL('../../apps/demo/src/health.controller.ts', import.meta.url), 'utf8');
    for (const probe of ['readinessProbe', 'livenessProbe', 'startupProbe'] as const) {
      const path = container[probe]!.httpGet!.path!;
      expect(controller).toContain(`@Get('${path.slice(1)}')`);
    }
    expect(container.readinessProbe!.httpGet!.path).toBe('/readyz');
    expect(container.livenessProbe!.httpGet!.path).toBe('/healthz');
  });

  it('have a grace period that is long enough for the configured stop', () => {
    const settings = valid('ConfigMap', 'config.yaml').data!;
    const { shutdown } = resolveOptions({
      group: settings['HEDGE_GROUP']!,
      address: settings['HEDGE_ADDRESS']!,
      timing: settings['HEDGE_TIMING'] as TimingPreset,
      backend: memory(),
    });
    const preStop = (container.lifecycle!.preStop as { sleep: { seconds: number } }).sleep.seconds * 1_000;
    expect(preStop + shutdown.totalMs).toBeLessThan(pod.terminationGracePeriodSeconds! * 1_000);
  });

  it('start a new pod before an old one stops, and give it a version to which the leadership moves', () => {
    expect(deployment.spec!.strategy!.rollingUpdate).toEqual({ maxSurge: 1, maxUnavailable: 0 });
    const version = container.env!.find(({ name }) => name === 'HEDGE_APP_VERSION')!.value!;
    const settings = valid('ConfigMap', 'config.yaml').data!;
    const database = 'projects/p/instances/i/databases/d';
    const config = new ConfigService({ ...settings, HEDGE_SPANNER_DATABASE: database, HEDGE_APP_VERSION: version });
    expect(resolveOptions(hedgeOptions(config)).appVersion).toBe(version);
  });

  it('request no privileges', () => {
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    expect(container.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });

  it('never let a disruption remove two pods at once', () => {
    const budget = valid('PodDisruptionBudget', 'disruption-budget.yaml').spec!;
    expect(budget).toMatchObject({ maxUnavailable: 1, unhealthyPodEvictionPolicy: 'AlwaysAllow' });
    expect(valid('Namespace', 'namespace.yaml').metadata!.name).toBe('hedge-demo');
  });
});
