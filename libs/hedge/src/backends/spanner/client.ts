import type { Spanner } from '@google-cloud/spanner';
import { HedgeError } from '../../common/errors.js';

/**
 * A `Database` of your own `@google-cloud/spanner` client, as far as this driver uses it; those of versions 8
 * and 9 fit. Statements go to the API itself, one call each, so that how often and for how long something is
 * tried is decided here and not by the client, which would go on for an hour.
 */
export interface SpannerDatabase {
  /** `projects/…/instances/…/databases/…` */
  readonly formattedName_: string;
  request(config: SpannerRequest, callback: (error: Error | null, response?: unknown) => void): void;
}

/** A `SpannerDatabase` with the method that the client's types leave out. */
export interface SpannerClient extends SpannerDatabase {
  requestStream(config: SpannerRequest): NodeJS.ReadableStream;
}

/** One call to the API, in the client's own form. */
export interface SpannerRequest {
  readonly client: string;
  readonly method: string;
  readonly reqOpts: object;
  readonly gaxOpts: object;
  readonly headers: Record<string, string>;
}

/** Where calls go: the user's client, or one made on the first call. */
export interface ClientSource {
  /** Of the database, in full. */
  readonly name: string;
  /** Loads the package, which takes a moment and no network. */
  load(): Promise<void>;
  connect(): Promise<SpannerClient>;
  /** Ends the client if this driver made it. */
  close(): Promise<void>;
}

export function isSpannerClient(client: object): client is SpannerClient {
  const { formattedName_, request, requestStream } = client as Partial<SpannerClient>;
  return [request, requestStream].every((one) => typeof one === 'function') && typeof formattedName_ === 'string';
}

export function usersClient(database: SpannerClient): ClientSource {
  return {
    get name() {
      return database.formattedName_;
    },
    load: async () => undefined,
    connect: async () => database,
    close: async () => undefined,
  };
}

/** The connection is found dead after 40 s without an answer, not after the client's two minutes. */
const KEEPALIVE = { 'grpc.keepalive_time_ms': 30_000, 'grpc.keepalive_timeout_ms': 10_000 };

/**
 * A client with Application Default Credentials, or of the emulator that `SPANNER_EMULATOR_HOST` names. The
 * package is loaded now and not before, so that nobody needs it who does not use Spanner.
 */
export function ownClient(name: string): ClientSource {
  let made: Promise<SpannerClient & { close(): Promise<void> }> | undefined;
  return {
    name,
    load: async () => void (await load()),
    connect: () => {
      made ??= make(name).catch((error: unknown) => {
        made = undefined;
        throw error;
      });
      return made;
    },
    close: async () => (await made?.catch(() => undefined))?.close(),
  };
}

async function make(name: string): Promise<SpannerClient & { close(): Promise<void> }> {
  const client = await makeClient(name);
  return {
    formattedName_: name,
    request: (config, callback) => void client.request(config, callback),
    requestStream: (config) => client.requestStream(config) as NodeJS.ReadableStream,
    close: () => client.close(),
  };
}

/** @throws HedgeError INVALID_OPTIONS when the package is not installed; the client's error without credentials. */
async function makeClient(name: string): Promise<Spanner> {
  const { Spanner } = await load();
  const [, projectId = ''] = name.split('/');
  // A library in somebody's app does not send metrics of its own to Cloud Monitoring.
  const client = construct(() => new Spanner({ projectId, disableBuiltInMetrics: true, ...KEEPALIVE }));
  // Looked for here, because a call that finds none makes the client throw where nobody can catch it.
  if (!process.env['SPANNER_EMULATOR_HOST']) await client.auth.getClient();
  return client;
}

/** @throws HedgeError INVALID_OPTIONS for what the client finds wrong in the environment, as the emulator's address. */
function construct(make: () => Spanner): Spanner {
  try {
    return make();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HedgeError('INVALID_OPTIONS', `The Spanner client cannot be made: ${reason}.`, { cause });
  }
}

async function load(): Promise<typeof import('@google-cloud/spanner')> {
  try {
    return await import('@google-cloud/spanner');
  } catch (cause) {
    throw new HedgeError(
      'INVALID_OPTIONS',
      'The Spanner backend needs its database client. Install it: npm i @google-cloud/spanner.',
      { cause },
    );
  }
}

/**
 * Runs schema statements, and waits until they took effect.
 * @throws the client's error; HedgeError INVALID_OPTIONS when the package is not installed.
 */
export async function applyDdl(name: string, statements: readonly string[]): Promise<void> {
  const client = await makeClient(name);
  try {
    const request = { database: name, statements: [...statements] };
    const once = { timeout: 30_000, retry: { retryCodes: [] } };
    const [operation] = await client.getDatabaseAdminClient().updateDatabaseDdl(request, once);
    await operation.promise();
  } finally {
    await client.close();
  }
}
