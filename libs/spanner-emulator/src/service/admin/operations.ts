import { alreadyExists, Code, notFound, SpannerError } from '../../common/status.js';
import { checkName } from '../../common/resource-names.js';
import { pageOf, refuseFilter } from '../paging.js';
import type { google } from '../protos.js';
import type { Handlers } from '../server.js';

type Operation = google.longrunning.IOperation;

/**
 * google.longrunning.Operations. All operations end at once: an operation is done when it is returned, and is kept for
 * clients that poll it.
 */
export class Operations {
  private readonly operations = new Map<string, Operation>();
  private count = 0;

  readonly handlers: Handlers = {
    GetOperation: ({ name }: google.longrunning.IGetOperationRequest) => this.get(name),
    WaitOperation: ({ name }: google.longrunning.IWaitOperationRequest) => this.get(name),
    ListOperations: ({ name, filter, ...request }: google.longrunning.IListOperationsRequest) => {
      refuseFilter('ListOperations', filter);
      const { page, nextPageToken } = pageOf(this.list(name ?? ''), request);
      return { operations: page, nextPageToken };
    },
    CancelOperation: ({ name }: google.longrunning.ICancelOperationRequest) => {
      this.get(name);
      return {};
    },
    DeleteOperation: ({ name }: google.longrunning.IDeleteOperationRequest) => {
      this.get(name);
      this.operations.delete(name ?? '');
      return {};
    },
  };

  /**
   * @param resource the resource of the operation, such as a database
   * @param id the id from the client, if there is one
   */
  finish(
    resource: string,
    id: string | null | undefined,
    metadata: google.protobuf.IAny,
    result: { readonly response: google.protobuf.IAny } | { readonly error: SpannerError },
  ): Operation {
    const name = `${resource}/operations/${id || `_auto_${++this.count}`}`;
    if (this.operations.has(name)) throw alreadyExists(`Operation already exists: ${name}`);
    const outcome = 'error' in result ? { error: { code: result.error.code, message: result.error.message } } : result;
    const operation: Operation = { name, metadata, done: true, ...outcome };
    this.operations.set(name, operation);
    return operation;
  }

  list(prefix: string): Operation[] {
    return [...this.operations.values()].filter(({ name }) => name!.startsWith(prefix));
  }

  private get(name: string | null | undefined): Operation {
    const operation = this.operations.get(checkName('operation', name));
    if (!operation) throw notFound(`Operation not found: ${name}`);
    return operation;
  }
}

export const asSpannerError = (error: unknown): SpannerError =>
  error instanceof SpannerError ? error : new SpannerError(Code.INTERNAL, String(error));
