import type { Catalog, Instance } from '../../catalog.js';
import { notFound } from '../../common/status.js';
import type { Operations } from './operations.js';
import { checkName, checkNewInstance } from '../../common/resource-names.js';
import { pageOf, refuseFilter } from '../paging.js';
import type { google, Protos } from '../protos.js';
import type { Handlers } from '../server.js';

type V1 = typeof google.spanner.admin.instance.v1;
type Request<K extends keyof V1> = V1[K] extends abstract new (...args: never[]) => infer R ? R : never;

const TYPE = 'google.spanner.admin.instance.v1';
/** Instance.State.READY */
const READY = 2;

/** The part of google.spanner.admin.instance.v1.InstanceAdmin that tests need to create a database. */
export class InstanceAdmin {
  constructor(
    private readonly catalog: Catalog,
    private readonly operations: Operations,
    private readonly protos: Protos,
  ) {}

  readonly handlers: Handlers = {
    ListInstanceConfigs: ({ parent }: Request<'ListInstanceConfigsRequest'>) => ({ instanceConfigs: [config(parent)] }),
    GetInstanceConfig: ({ name }: Request<'GetInstanceConfigRequest'>) => {
      const [project] = name.split('/instanceConfigs/');
      if (name !== configName(project!)) throw notFound(`Instance config not found: ${name}`);
      return config(project!);
    },
    CreateInstance: (request: Request<'CreateInstanceRequest'>) => this.create(request),
    GetInstance: ({ name }: Request<'GetInstanceRequest'>) => toProto(this.catalog.instance(name)),
    ListInstances: ({ parent, filter, ...request }: Request<'ListInstancesRequest'>) => {
      refuseFilter('ListInstances', filter);
      const { page, nextPageToken } = pageOf(this.catalog.instancesOf(parent), request);
      return { instances: page.map(toProto), nextPageToken };
    },
    DeleteInstance: ({ name }: Request<'DeleteInstanceRequest'>) => {
      this.catalog.deleteInstance(name);
      return {};
    },
  };

  private create({ parent, instanceId, instance }: Request<'CreateInstanceRequest'>): object {
    checkName('project', parent);
    checkNewInstance(instanceId);
    const created: Instance = {
      name: `${parent}/instances/${instanceId}`,
      displayName: instance?.displayName ?? instanceId,
      config: instance?.config ?? configName(parent),
      nodeCount: instance?.nodeCount || 1,
    };
    this.catalog.createInstance(created);
    const message = toProto(created);
    const metadata = this.protos.pack(`${TYPE}.CreateInstanceMetadata`, { instance: message });
    return this.operations.finish(created.name, undefined, metadata, {
      response: this.protos.pack(`${TYPE}.Instance`, message),
    });
  }
}

const configName = (project: string): string => `${project}/instanceConfigs/emulator-config`;
const config = (project: string) => ({ name: configName(project), displayName: 'Emulator Instance Config' });

const toProto = ({ name, displayName, config, nodeCount }: Instance) => ({
  name,
  displayName,
  config,
  nodeCount,
  processingUnits: nodeCount * 1000,
  state: READY,
});
