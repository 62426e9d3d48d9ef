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
    connect: () => (made ??= make(name)),
    close: async () => (await made?.catch(() => undefined))?.close(),
  };
}

async function make(name: string): Promise<SpannerClient & { close(): Promise<void> }> {
  const { Spanner } = await load();
  const [, projectId = ''] = name.split('/');
  // A library in somebody's app does not send metrics of its own to Cloud Monitoring.
  const options = { projectId, disableBuiltInMetrics: true, ...KEEPALIVE };
  const client = new Spanner(options);
  return {
    formattedName_: name,
    request: (config, callback) => void client.request(config, callback),
    requestStream: (config) => client.requestStream(config) as NodeJS.ReadableStream,
    close: () => client.close(),
  };
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
