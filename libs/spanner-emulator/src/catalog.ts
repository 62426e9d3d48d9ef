import { alreadyExists, resourceNotFound } from './common/status.js';
import { checkName } from './common/resource-names.js';
import { Database, type DatabaseOptions } from './storage/database.js';

export interface Instance {
  readonly name: string;
  readonly displayName: string;
  readonly config: string;
  readonly nodeCount: number;
}

/** The instances and databases of one server. All data is in memory. */
export class Catalog {
  private readonly instances = new Map<string, Instance>();
  private readonly databases = new Map<string, Database>();

  constructor(private readonly options: DatabaseOptions) {}

  createInstance(instance: Instance): void {
    if (this.instances.has(instance.name)) throw alreadyExists(`Instance already exists: ${instance.name}`);
    this.instances.set(instance.name, instance);
  }

  instance(name: string): Instance {
    const instance = this.instances.get(checkName('instance', name));
    if (!instance) throw resourceNotFound('Instance', name);
    return instance;
  }

  instancesOf(project: string): Instance[] {
    checkName('project', project);
    return [...this.instances.values()].filter(({ name }) => name.startsWith(`${project}/instances/`));
  }

  deleteInstance(name: string): void {
    this.instance(name);
    for (const database of this.databasesOf(name)) this.dropDatabase(database.name);
    this.instances.delete(name);
  }

  createDatabase(name: string): Database {
    this.instance(checkName('database', name).split('/databases/')[0]!);
    if (this.databases.has(name)) throw alreadyExists(`Database already exists: ${name}`);
    const database = new Database(name, this.options);
    this.databases.set(name, database);
    return database;
  }

  database(name: string): Database {
    const database = this.databases.get(checkName('database', name));
    if (!database) throw resourceNotFound('Database', name);
    return database;
  }

  databasesOf(instance: string): Database[] {
    return [...this.databases.values()].filter(({ name }) => name.startsWith(`${instance}/databases/`));
  }

  dropDatabase(name: string): void {
    this.databases.get(checkName('database', name))?.abortAll('Transaction aborted: its database was dropped.');
    this.databases.delete(name);
  }

  /** Periodic cleanup. */
  tick(): void {
    for (const database of this.databases.values()) database.expireIdle();
  }
}
