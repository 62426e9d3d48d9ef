import type { Spanner } from '@google-cloud/spanner';
import { findCredentials, makeClient } from './google-client.js';

/**
 * The part of a `Database` of your own `@google-cloud/spanner` client that this driver uses; versions 8 and 9 fit. Each
 * statement is one call to the API itself, so that this driver decides on retries and deadlines. The client would retry
 * for an hour.
 */
export interface SpannerDatabase {
  /** `projects/…/instances/…/databases/…` */
  readonly formattedName_: string;
  request(config: SpannerRequest, callback: (error: Error | null, response?: unknown) => void): void;
}

/** A `SpannerDatabase` with a method that the client's types omit. */
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

/** The source of the client: the user's one, or one that is created on the first call. */
export interface ClientSource {
  /** The full name of the database. */
  readonly name: string;
  /**
   * Loads the package and creates the client. This takes a moment and no network.
   * @throws HedgeError INVALID_OPTIONS when that fails.
   */
  load(): void;
  connect(): Promise<SpannerClient>;
  /** Closes the client if this driver created it. */
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
 * A client with Application Default Credentials, or for the emulator in `SPANNER_EMULATOR_HOST`. The package is loaded
 * here, so that applications without Spanner do not need it.
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
    // Without credentials there is nothing to close, and the client would throw where no code can catch it.
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
