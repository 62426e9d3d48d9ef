import { Spanner } from '@google-cloud/spanner';
import type { SpannerDatabase } from 'nestjs-hedge/spanner';
import type { SpannerRequest } from '../../libs/hedge/src/database/spanner/client/client.js';

/** A user's own client that records its requests. */
export class RecordingClient {
  readonly requests: SpannerRequest[] = [];
  readonly database: SpannerDatabase;
  readonly #spanner: Spanner;

  constructor(name: string, options: ConstructorParameters<typeof Spanner>[0] = {}) {
    const [, projectId = ''] = name.split('/');
    this.#spanner = new Spanner({ projectId, disableBuiltInMetrics: true, ...options });
    const recorded: SpannerDatabase & { requestStream(config: SpannerRequest): unknown } = {
      formattedName_: name,
      request: (config, callback) => {
        this.requests.push(config);
        void this.#spanner.request(config, callback);
      },
      requestStream: (config) => {
        this.requests.push(config);
        return this.#spanner.requestStream(config);
      },
    };
    this.database = recorded;
  }

  /** The `transaction` of each request to this method. */
  selectors(method: string): unknown[] {
    return this.requests
      .filter((request) => request.method === method)
      .map(({ reqOpts }) => (reqOpts as { transaction?: unknown }).transaction);
  }

  close(): Promise<void> {
    return this.#spanner.close();
  }
}
