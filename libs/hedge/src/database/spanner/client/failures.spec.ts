import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from '@jest/globals';
import type { HedgeError } from '../../../common/errors.js';
import { retryDelayMs, surelyNotCommitted, toHedgeError, type OperationName } from './failures.js';
import { Closed, TooLate } from './rpc.js';

const DATABASE = 'projects/p/instances/i/databases/d';

/** An error as @grpc/grpc-js creates it. */
function grpcError(code: number, message: string, retryInfo?: Uint8Array): Error {
  const metadata = { get: (key: string) => (key === 'google.rpc.retryinfo-bin' && retryInfo ? [retryInfo] : []) };
  return Object.assign(new Error(`${code} CODE: ${message}`), { code, metadata });
}

function retryInfo(seconds: number, nanos: number): Uint8Array {
  const { Varint, LengthDelimited } = WireType;
  const duration = new BinaryWriter().tag(1, Varint).int64(seconds).tag(2, Varint).int32(nanos).finish();
  return new BinaryWriter().tag(1, LengthDelimited).bytes(duration).finish();
}

describe('a failed attempt', () => {
  it('is retried after the time that Spanner requests', () => {
    expect(retryDelayMs(grpcError(10, 'aborted', retryInfo(0, 12_500_000)), 1, 0)).toBe(12.5);
    expect(retryDelayMs(grpcError(10, 'aborted', retryInfo(2, 0)), 1, 0)).toBe(2_000);
    expect(retryDelayMs(grpcError(10, 'aborted', new Uint8Array()), 1, 0)).toBe(2);
  });

  it.each<[string, Error]>([
    ['ABORTED without a time', grpcError(10, 'aborted')],
    ['UNAVAILABLE', grpcError(14, 'connect ECONNREFUSED')],
    ['RESOURCE_EXHAUSTED by too many requests', grpcError(8, 'quota')],
    ['INTERNAL, when the connection broke', grpcError(13, 'Received RST_STREAM with code 2')],
    ['a lost session', grpcError(5, 'Session not found: projects/…')],
    ['a lost transaction', grpcError(5, 'Transaction not found: …')],
  ])('is retried with growing pauses: %s', (_what, error) => {
    const delays = [1, 2, 3].map((tries) => retryDelayMs(error, tries, 0.5) as number);
    expect(delays).toEqual([...delays].sort((a, b) => a - b));
    expect(new Set(delays).size).toBe(3);
  });

  it.each<[string, unknown]>([
    ['a missing database', grpcError(5, 'Database not found: d')],
    ['a wrong statement', grpcError(3, 'Syntax error')],
    ['no permission', grpcError(7, 'denied')],
    ['the end of its time', grpcError(4, 'Deadline exceeded')],
    ['a request that is too large', grpcError(8, 'Received message larger than max (9 vs. 8)')],
    ['an INTERNAL error of another kind', grpcError(13, 'oops')],
    ['an error of the client itself', new Error('Could not load the default credentials')],
  ])('is not retried: %s', (_what, error) => {
    expect(retryDelayMs(error, 1, 0)).toBeUndefined();
  });

  it.each([1, 2, 4, 8, 13, 14, 15])('K1 status %s leaves open whether a commit happened', (code) => {
    expect(surelyNotCommitted(grpcError(code, ''))).toBe(false);
  });

  it.each([3, 5, 6, 7, 9, 10, 11, 12, 16])('K1 status %s is given instead of a commit', (code) => {
    expect(surelyNotCommitted(grpcError(code, ''))).toBe(true);
  });

  it.each([
    ['that is too large for a message', grpcError(8, 'Received message larger than max (9 vs. 8)')],
    ['that was not sent, after close', new Closed('it is closed')],
    ['that was not sent, for want of time', new TooLate('its time is over')],
  ])('K1 a commit %s did not happen', (_what, error) => {
    expect(surelyNotCommitted(error)).toBe(true);
  });
});

function meaning(operation: OperationName, error: unknown, inDoubt = false): HedgeError {
  return toHedgeError(DATABASE, operation, error, inDoubt);
}

describe('toHedgeError', () => {
  it.each<[string, unknown, string, RegExp]>([
    ['a missing database', grpcError(5, 'Database not found: d.'), 'INVALID_OPTIONS', /d\. Check the name/],
    ['no permission', grpcError(7, 'denied'), 'INVALID_OPTIONS', /roles\/spanner\.databaseUser/],
    ['no credentials', new Error('Could not load the default credentials.'), 'INVALID_OPTIONS', /Workload Identity/],
    ['an unreachable server', grpcError(14, 'connect ECONNREFUSED'), 'BACKEND_UNAVAILABLE', /Try again/],
    ['sessions that are lost again and again', grpcError(5, 'Session not found: s'), 'BACKEND_UNAVAILABLE', /Session/],
  ])('at start: %s', (_what, error, code, message) => {
    expect(meaning('open', error)).toMatchObject({ code, message: expect.stringMatching(message), cause: error });
  });

  it('treats failures after the start as temporary, a missing permission too', () => {
    expect(meaning('lease.renew', grpcError(7, 'denied'))).toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      retryable: true,
      message: expect.stringMatching(/databaseUser on the database. The driver then recovers/),
    });
    expect(meaning('log.append', grpcError(10, 'aborted')).message).toMatch(/changed the same rows/);
  });

  it('reports a batch that Spanner will never accept as INVALID_ARGUMENT', () => {
    for (const error of [
      grpcError(3, 'Value too long'),
      grpcError(9, 'no'),
      grpcError(8, 'message larger than max (1)'),
    ]) {
      expect(meaning('log.append', error)).toMatchObject({ code: 'INVALID_ARGUMENT', retryable: false });
    }
  });

  it('K1 reports an overwrite as unknown only when its commit may have happened', () => {
    expect(meaning('log.overwrite', grpcError(14, 'gone'), true)).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(meaning('log.overwrite', grpcError(14, 'gone'), false)).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
    expect(meaning('log.append', grpcError(14, 'gone'), true)).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  it('reports a call after close as not retryable', () => {
    expect(meaning('lease.read', new Closed('it is closed'))).toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      retryable: false,
    });
  });
});
