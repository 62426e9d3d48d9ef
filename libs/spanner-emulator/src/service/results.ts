import type { Rows } from '../query/select.js';
import type { Nanos } from '../common/timestamps.js';
import { invalidArgument } from '../common/status.js';
import { toProtoValues, toRowType, type ProtoScalar } from './codec.js';
import type { google } from './protos.js';

/** The result of a statement or read, before it is split into messages. */
export interface Outcome {
  readonly rows?: Rows;
  /** For DML. */
  readonly count?: number;
  /** The count of partitioned DML is a lower bound. */
  readonly countIsLowerBound?: boolean;
  readonly transaction?: google.spanner.v1.ITransaction;
  readonly precommitToken?: google.spanner.v1.IMultiplexedSessionPrecommitToken;
  /** The read timestamp, at which a resumed stream reads again. */
  readonly at?: Nanos;
}

/** Rows of about this many characters go into one message of a stream. */
const CHUNK = 256 * 1024;

const metadataOf = ({ rows, transaction }: Outcome): google.spanner.v1.IResultSetMetadata => ({
  rowType: toRowType(rows?.columns ?? []),
  ...(transaction ? { transaction } : {}),
});

const statsOf = ({ count, countIsLowerBound }: Outcome): { stats?: google.spanner.v1.IResultSetStats } => {
  if (count === undefined) return {};
  return { stats: countIsLowerBound ? { rowCountLowerBound: count } : { rowCountExact: count } };
};

const tokenOf = ({ precommitToken }: Outcome) => (precommitToken ? { precommitToken } : {});

export const toResultSet = (outcome: Outcome): object => ({
  metadata: metadataOf(outcome),
  rows: (outcome.rows?.rows ?? []).map((row) => ({ values: toProtoValues(row, outcome.rows!.columns) })),
  ...statsOf(outcome),
  ...tokenOf(outcome),
});

/** The position of a stream: its read timestamp (none in a read-write transaction) and the number of sent rows. */
interface ResumePoint {
  readonly at?: Nanos;
  readonly sent: number;
}

const encodeToken = ({ at, sent }: ResumePoint): Buffer => Buffer.from(`${at ?? ''}/${sent}`);

export const decodeToken = (token: Uint8Array | string | null | undefined): ResumePoint | undefined => {
  if (!token || token.length === 0) return undefined;
  const match = /^(\d*)\/(\d+)$/.exec(Buffer.from(token as Uint8Array).toString());
  if (!match) throw invalidArgument('Invalid resume token.');
  return { sent: Number(match[2]), ...(match[1] ? { at: BigInt(match[1]) } : {}) };
};

/**
 * The messages of a stream, at least one. Each has a token to resume after it.
 * @param rowsPerMessage limit of the rows in a message, for tests of resumption
 */
export const toPartialResultSets = (outcome: Outcome, skip = 0, rowsPerMessage = Infinity): object[] => {
  const { rows = [], columns = [] } = outcome.rows ?? {};
  const messages: object[] = [];
  let values: ProtoScalar[] = [];
  let size = 0;
  let inMessage = 0;
  const flush = (sent: number): void => {
    messages.push({ values, resumeToken: encodeToken({ at: outcome.at, sent }) });
    values = [];
    size = inMessage = 0;
  };
  for (let i = skip; i < rows.length; i++) {
    for (const value of toProtoValues(rows[i]!, columns)) {
      values.push(value);
      size += 'stringValue' in value ? value.stringValue.length : 8;
    }
    inMessage++;
    if ((size >= CHUNK || inMessage >= rowsPerMessage) && i + 1 < rows.length) flush(i + 1);
  }
  flush(rows.length);
  Object.assign(messages[0]!, { metadata: metadataOf(outcome) });
  Object.assign(messages.at(-1)!, statsOf(outcome), tokenOf(outcome), { last: true });
  return messages;
};
