/**
 * The parts of the messages of google.spanner.v1 that this driver uses, in the shape of versions 8 and 9 of the client.
 * @see https://cloud.google.com/spanner/docs/reference/rpc/google.spanner.v1
 */
export interface ProtoValue {
  readonly stringValue?: string | null;
  readonly nullValue?: unknown;
  readonly listValue?: ListValue;
}

export interface ProtoTime {
  /** A string, a number or a Long. */
  readonly seconds?: { toString(): string } | null;
  readonly nanos?: number | null;
}

export interface ListValue {
  readonly values: readonly ProtoValue[];
}

export interface PrecommitToken {
  readonly precommitToken: Uint8Array;
  readonly seqNum: number;
}

export interface TransactionOptions {
  readonly readWrite: {
    readonly readLockMode: 'OPTIMISTIC';
    readonly multiplexedSessionPreviousTransactionId?: Uint8Array;
  };
  readonly isolationLevel: 'SERIALIZABLE';
}

export type ReadBound = { readonly strong: true } | { readonly maxStaleness: Duration };

export interface Duration {
  readonly seconds: number;
  readonly nanos: number;
}

export type TransactionSelector =
  | { readonly singleUse: { readonly readOnly: ReadBound } }
  | { readonly begin: TransactionOptions }
  | { readonly id: Uint8Array };

interface ResultMetadata {
  readonly rowType?: { readonly fields?: readonly unknown[] | null } | null;
  readonly transaction?: { readonly id?: Uint8Array | null } | null;
}

export interface ResultSet {
  readonly rows?: readonly ListValue[] | null;
  readonly metadata?: ResultMetadata | null;
  readonly precommitToken?: PrecommitToken | null;
}

/** One message of a stream. A row, and even a value, may continue in the next message. */
export interface PartialResultSet {
  readonly values?: readonly ProtoValue[] | null;
  readonly metadata?: ResultMetadata | null;
  /** The last value continues in the first value of the next message. */
  readonly chunkedValue?: boolean | null;
}

export interface Write {
  readonly table: string;
  readonly columns: readonly string[];
  readonly values: readonly ListValue[];
}

/** Deletes rows by their keys. A missing row is no error. */
export interface Delete {
  readonly table: string;
  readonly keySet: { readonly keys: readonly ListValue[] };
}

export type Mutation =
  | { readonly insert: Write }
  | { readonly update: Write }
  | { readonly insertOrUpdate: Write }
  | { readonly delete: Delete };

export interface CommitResponse {
  readonly commitTimestamp?: ProtoTime | null;
  /** Set instead of the timestamp: the commit must be repeated with this token. */
  readonly precommitToken?: PrecommitToken | null;
}

/** The unary calls: request and response. */
export interface Calls {
  createSession: [{ readonly database: string; readonly session: object }, { readonly name?: string | null }];
  executeSql: [StatementRequest, ResultSet];
  read: [ReadRequest, ResultSet];
  commit: [CommitRequest, CommitResponse];
  rollback: [{ readonly session: string; readonly transactionId: Uint8Array }, object];
}

export interface ParamType {
  readonly code: string;
  readonly arrayElementType?: ParamType;
}

export interface StatementRequest {
  readonly session: string;
  readonly transaction: TransactionSelector;
  readonly sql: string;
  readonly params: { readonly fields: Readonly<Record<string, ProtoValue>> };
  readonly paramTypes: Readonly<Record<string, ParamType>>;
  readonly seqno?: number;
}

export interface ReadRequest {
  readonly session: string;
  readonly transaction: TransactionSelector;
  readonly table: string;
  readonly columns: readonly string[];
  readonly keySet: { readonly keys: readonly ListValue[] };
}

export interface CommitRequest {
  readonly session: string;
  readonly transactionId: Uint8Array;
  readonly mutations: readonly Mutation[];
  readonly precommitToken?: PrecommitToken;
}
