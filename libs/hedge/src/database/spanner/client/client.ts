import type { Spanner } from '@google-cloud/spanner';
import { findCredentials, makeClient } from './google-client.js';

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
  /**
   * Loads the package and makes the client, which takes a moment and no network.
   * @throws HedgeError INVALID_OPTIONS when that cannot be.
   */
  load(): void;
  connect(): Promise<SpannerClient>;
  /** Ends the client if this driver made it. */
  close(): Promise<void>;
}

export function isSpannerClient(client: unknown): client is SpannerClient {
  const { formattedName_, request, requestStream } = (client ?? {}) as Partial<SpannerClient>;
  return [request, requestStream].every((one) => typeof one === 'function') && typeof formattedName_ === 'string';
}

export function usersClient(database: SpannerClient): ClientSource {
  return {
    get name() {
      return database.formattedName_;
    },
    load: () => undefined,
    connect: async () => database,
    close: async () => undefined,
  };
}

/**
 * A client with Application Default Credentials, or of the emulator that `SPANNER_EMULATOR_HOST` names. The
 * package is loaded now and not before, so that nobody needs it who does not use Spanner.
 */
export function ownClient(name: string): ClientSource {
  let client: Spanner | undefined;
  let connected: Promise<SpannerClient> | undefined;
  return {
    name,
    load: () => void (client ??= makeClient(name)),
    connect: () => {
      connected ??= connect(name, (client ??= makeClient(name))).catch((error: unknown) => {
        connected = undefined;
        throw error;
      });
      return connected;
    },
    // Without credentials there is nothing to close, and the client would fail where nobody can catch it.
    close: async () => {
      if ((await connected?.catch(() => undefined)) !== undefined) await client?.close();
    },
  };
}

async function connect(name: string, client: Spanner): Promise<SpannerClient> {
  await findCredentials(client);
  return {
    formattedName_: name,
    request: (config, callback) => void client.request(config, callback),
    requestStream: (config) => client.requestStream(config) as NodeJS.ReadableStream,
  };
}
