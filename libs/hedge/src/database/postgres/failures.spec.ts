import { describe, expect, it } from '@jest/globals';
import { Closed, NoAnswer, NotSent, ReadOnlyServer } from './client/client.js';
import { breaksConnection, repeatDelayMs, surelyWithoutEffect, toHedgeError } from './failures.js';

function sqlError(code: string, severity = 'ERROR'): Error {
  return Object.assign(new Error(`SQLSTATE ${code}`), { code, severity });
}

const socketError = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
const pipeError = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });

describe('a failed statement', () => {
  it.each(['23505', '40001', '40P01', '55P03', '42P01', '22021', '53100'])('with %s leaves its connection', (code) => {
    expect(breaksConnection(sqlError(code))).toBe(false);
    expect(surelyWithoutEffect(sqlError(code))).toBe(true);
  });

  it('leaves its connection when no time was left to send it', () => {
    expect(breaksConnection(new NotSent('no connection in time'))).toBe(false);
  });

  it.each<[string, unknown]>([
    ['25006, a server that reads only', sqlError('25006')],
    ['57P01, a shutdown', sqlError('57P01', 'FATAL')],
    ['57P02, a crash', sqlError('57P02', 'FATAL')],
    ['57P03, a start', sqlError('57P03', 'FATAL')],
    ['08006, a broken connection', sqlError('08006')],
    ['08P01, by which PgBouncer reports', sqlError('08P01', 'FATAL')],
    ['53300, no free connection', sqlError('53300', 'FATAL')],
    ['any fatal error', sqlError('28P01', 'FATAL')],
    ['a reset socket', socketError],
    ['a broken pipe', pipeError],
    ['silence', new NoAnswer(1_000)],
    ['the answer of a standby', new ReadOnlyServer()],
  ])('with %s destroys its connection', (_what, error) => {
    expect(breaksConnection(error)).toBe(true);
  });

  it.each(['40001', '40P01', '55P03', '23505'])('with %s is repeated', (code) => {
    const wrapped = Object.assign(new Error('Failed query'), { cause: sqlError(code) });
    const ofTypeOrm = Object.assign(new Error('QueryFailedError'), { driverError: sqlError(code) });
    const ofPrisma6 = Object.assign(new Error('Raw query failed'), { code: 'P2010', meta: { code } });
    const adapterError = { cause: { originalCode: code, kind: 'TransactionWriteConflict' } };
    const ofPrisma7 = Object.assign(new Error('Raw query failed'), {
      code: 'P2010',
      meta: { driverAdapterError: adapterError },
    });
    for (const error of [sqlError(code), wrapped, ofTypeOrm, ofPrisma6, ofPrisma7]) {
      expect(repeatDelayMs(error, 1, 0.5)).toBeGreaterThan(0);
    }
  });

  it.each([sqlError('23514'), sqlError('25006'), socketError, new NoAnswer(1_000), new Closed()])(
    'with %s is not repeated',
    (error) => {
      expect(repeatDelayMs(error, 1, 0.5)).toBeUndefined();
    },
  );
});

describe('the error of the caller', () => {
  it.each<[unknown, string]>([
    [new NotSent('no connection'), 'BACKEND_UNAVAILABLE'],
    [sqlError('25006'), 'BACKEND_UNAVAILABLE'],
    [new NoAnswer(1_000), 'OUTCOME_UNKNOWN'],
    [socketError, 'OUTCOME_UNKNOWN'],
    [sqlError('57P01', 'FATAL'), 'OUTCOME_UNKNOWN'],
    [sqlError('54000'), 'INVALID_ARGUMENT'],
  ])('of an overwrite that failed with %s says whether it happened', (failure, code) => {
    expect(toHedgeError('postgres db', 'log.overwrite', failure)).toMatchObject({ code });
  });

  it.each(['28P01', '28000', '3D000', '42501'])('of a start that failed with %s is for good', (code) => {
    expect(toHedgeError('postgres db', 'open', new NotSent('refused', sqlError(code, 'FATAL')))).toMatchObject({
      code: 'INVALID_OPTIONS',
      details: { sqlState: code },
    });
    expect(toHedgeError('postgres db', 'lease.read', sqlError(code))).toMatchObject({ code: 'BACKEND_UNAVAILABLE' });
  });

  it('of a closed backend is not to be retried', () => {
    expect(toHedgeError('postgres db', 'lease.read', new Closed())).toMatchObject({ retryable: false });
  });

  it.each([
    Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' }),
    new AggregateError([Object.assign(new Error('connect ECONNREFUSED ::1:1'), { code: 'ECONNREFUSED' })]),
    Object.assign(new Error('getaddrinfo ENOTFOUND db'), { code: 'ENOTFOUND' }),
  ])('of a server that cannot be reached says so, and what to correct: %s', (cause) => {
    expect(toHedgeError('postgres db', 'open', new NotSent('connect failed', cause))).toMatchObject({
      code: 'BACKEND_UNAVAILABLE',
      retryable: true,
      message:
        'postgres db cannot be reached for open: connect failed. Start the server, or correct the host and the port.',
    });
  });
});
