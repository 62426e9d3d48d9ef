import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Float, Int } from '@google-cloud/spanner/build/src/codec.js';
import { openTarget, query, type Target } from './target.js';

describe('SQL expressions', () => {
  let target: Target;

  beforeAll(async () => {
    target = await openTarget();
  });
  afterAll(() => target.close());

  const value = async (expression: string, params = {}, types = {}): Promise<unknown> => {
    const [row] = await query(target.database, `SELECT ${expression} AS v`, params, types);
    const v = row!['v'];
    return v instanceof Date ? new Date(v.getTime()).toISOString() : Buffer.isBuffer(v) ? v.toString() : v;
  };

  describe.each([
    ['strings', `'a' || "b" || r'\\n' || '''c'd'''`, "ab\\nc'd"],
    ['escapes', String.raw`'\x41\101B\U00000043\n'`, 'AAAC\n'.replace('AAAC', 'AABC')],
    ['bytes', String.raw`b'\x41é'`, 'Aé'],
    ['hexadecimal integers', '0x1F', 31],
    ['floats', '1.5e1 + .5', 15.5],
    ['booleans', 'TRUE AND NOT FALSE', true],
    ['timestamps', "TIMESTAMP '2024-02-29 10:00:00.25+02:00'", '2024-02-29T08:00:00.250Z'],
    ['arithmetic', '2 + 3 * 4 - 6', 8],
    ['division is FLOAT64', '7 / 2', 3.5],
    ['unary minus', '- 5 + +2', -3],
    ['MOD keeps the sign', 'MOD(-7, 3)', -1],
    ['comparison', '1 < 2 AND 2 <= 2 AND 3 > 2 AND 3 >= 3 AND 1 = 1 AND 1 != 2 AND 1 <> 2', true],
    ['INT64 with FLOAT64', '1 = 1.0', true],
    ['BETWEEN', '2 BETWEEN 1 AND 3 AND NOT 4 BETWEEN 1 AND 3', true],
    ['NOT BETWEEN', '4 NOT BETWEEN 1 AND 3', true],
    ['IN', "'b' IN ('a', 'b') AND 'c' NOT IN ('a', 'b')", true],
    ['IN with a NULL in the list', 'COALESCE(3 IN (1, NULL), FALSE)', false],
    ['IN UNNEST of an array', '2 IN UNNEST([1, 2]) AND 3 NOT IN UNNEST(ARRAY[1, 2])', true],
    ['LIKE', "'abc' LIKE 'a%' AND 'abc' LIKE '_b_' AND 'abc' NOT LIKE 'b%'", true],
    ['LIKE with an escape', String.raw`'a%' LIKE 'a\\%' AND NOT 'ab' LIKE 'a\\%'`, true],
    ['LIKE of regular expression characters', "'a.c' LIKE 'a.%' AND NOT 'abc' LIKE 'a.%'", true],
    ['LIKE of a hyphen and a slash', "'a-b/c' LIKE 'a-_/%'", true],
    ['LIKE over lines', String.raw`'a\nb' LIKE 'a%b'`, true],
    ['IS NULL', 'NULL IS NULL AND 1 IS NOT NULL', true],
    ['IS TRUE', '(1 = 1) IS TRUE AND (NULL = 1) IS NOT TRUE AND (1 = 2) IS FALSE', true],
    ['NULL = NULL', 'NULL = NULL', null],
    ['NULL AND FALSE', '(1 = NULL) AND FALSE', false],
    ['NULL OR TRUE', '(1 = NULL) OR TRUE', true],
    ['NULL AND TRUE', '(1 = NULL) AND TRUE', null],
    ['STARTS_WITH', "STARTS_WITH('abc', 'ab') AND NOT STARTS_WITH('abc', 'b')", true],
    ['ENDS_WITH', "ENDS_WITH('abc', 'bc')", true],
    ['COALESCE', "COALESCE(NULL, NULL, 'x')", 'x'],
    ['IFNULL and NULLIF', 'IFNULL(NULLIF(1, 1), 2)', 2],
    ['IF', "IF(1 > 2, 'yes', 'no')", 'no'],
    ['IF of NULL', "IF(NULL, 'yes', 'no')", 'no'],
    ['CONCAT', "CONCAT('a', 'b', 'c')", 'abc'],
    ['CONCAT of bytes', "CONCAT(b'a', b'b')", 'ab'],
    ['CONCAT with NULL', "CONCAT('a', NULL)", null],
    ['GREATEST and LEAST', 'GREATEST(1, 3, 2) - LEAST(5, 4)', -1],
    ['LENGTH counts characters', "LENGTH('é😀')", 2],
    ['LOWER and UPPER', "LOWER('AbC') || UPPER('AbC')", 'abcABC'],
    ['CAST to STRING', "CAST(12 AS STRING) || CAST(TRUE AS STRING) || CAST(b'x' AS STRING)", '12truex'],
    ['CAST to INT64', "CAST(' -12 ' AS INT64) + CAST(2.5 AS INT64) + CAST(-2.5 AS INT64) + CAST(TRUE AS INT64)", -11],
    ['CAST of hexadecimal text to INT64', "CAST('0x123' AS INT64) + CAST('-0x1' AS INT64)", 290],
    ['CAST of infinity', "CAST('-Infinity' AS FLOAT64) < 0 AND CAST('+inf' AS FLOAT64) > 0", true],
    ['CAST to FLOAT64', "CAST('1e2' AS FLOAT64) + CAST(1 AS FLOAT64)", 101],
    ['CAST to BOOL', "CAST('TRUE' AS BOOL) AND NOT CAST(0 AS BOOL)", true],
    ['CAST to BYTES', "CAST('é' AS BYTES)", 'é'],
    ['CAST to TIMESTAMP', "CAST('2024-01-01T00:00:00Z' AS TIMESTAMP)", '2024-01-01T00:00:00.000Z'],
    ['CAST of NULL', 'CAST(NULL AS STRING)', null],
    ['UNIX_MICROS', "UNIX_MICROS(TIMESTAMP '1970-01-01 00:00:01.0000015Z')", 1000001],
    ['UNIX_MICROS before 1970', "UNIX_MICROS(TIMESTAMP '1969-12-31 23:59:59.9999995Z')", -1],
    [
      'UNIX_MILLIS and UNIX_SECONDS',
      "UNIX_MILLIS(TIMESTAMP '1970-01-01 00:00:01.5Z') + UNIX_SECONDS(TIMESTAMP '1970-01-01 00:01:00Z')",
      1560,
    ],
    ['TIMESTAMP_MICROS', 'TIMESTAMP_MICROS(1500000)', '1970-01-01T00:00:01.500Z'],
    ['TIMESTAMP_MILLIS and _SECONDS', 'TIMESTAMP_MILLIS(1000) = TIMESTAMP_SECONDS(1)', true],
    [
      'TIMESTAMP_ADD',
      "TIMESTAMP_ADD(TIMESTAMP '2024-01-01 00:00:00Z', INTERVAL 90 MINUTE)",
      '2024-01-01T01:30:00.000Z',
    ],
    ['TIMESTAMP_SUB', "TIMESTAMP_SUB(TIMESTAMP '2024-01-01 00:00:00Z', INTERVAL 1 DAY)", '2023-12-31T00:00:00.000Z'],
    [
      'TIMESTAMP_DIFF truncates',
      "TIMESTAMP_DIFF(TIMESTAMP '2024-01-01 00:00:00Z', TIMESTAMP '2024-01-01 00:00:01.9Z', SECOND)",
      -1,
    ],
    [
      'TIMESTAMP_DIFF in microseconds',
      "timestamp_diff(timestamp '2024-01-01 00:00:00.000002Z', timestamp '2024-01-01 00:00:00Z', microsecond)",
      2,
    ],
    ['CURRENT_TIMESTAMP', 'CURRENT_TIMESTAMP = CURRENT_TIMESTAMP()', true],
    ['comments', '1 -- one\n + # two\n /* three */ 2', 3],
    ['BYTES order', "b'\\xff' > b'\\x00z'", true],
    ['STRING order is by code point', "'\u{1F600}' > '\uFFFD'", true],
  ])('%s', (_name, expression, expected) => {
    it(expression, async () => {
      expect(await value(expression)).toEqual(expected);
    });
  });

  describe('parameters', () => {
    it.each([
      ['STRING', 'x', 'string', 'x'],
      ['INT64', '9007199254740991', 'int64', 9007199254740991],
      ['FLOAT64', 1.5, 'float64', 1.5],
      ['BOOL', false, 'bool', false],
      ['BYTES', Buffer.from('é'), 'bytes', 'é'],
      ['TIMESTAMP', '2024-01-01T00:00:00Z', 'timestamp', '2024-01-01T00:00:00.000Z'],
    ])('of type %s are accepted and returned', async (_name, param, type, expected) => {
      expect(await value('@p', { p: param }, { p: type })).toEqual(expected);
    });

    it('without a type have the type of the value with which they are compared', async () => {
      const sql = "TIMESTAMP '2024-01-01 00:00:00Z' = @p";
      expect(await value(sql, { p: '2024-01-01T00:00:00Z' }, { p: 'unspecified' })).toBe(true);
      expect(await value('@p IS NULL', { p: null }, { p: 'unspecified' })).toBe(true);
    });

    it('of type ARRAY work in IN UNNEST, and names ignore case', async () => {
      expect(await value('2 IN UNNEST(@Ids)', { ids: [new Int('1'), new Int('2')] })).toBe(true);
      expect(await value("'c' IN UNNEST(@ids)", { ids: ['a'] })).toBe(false);
      expect(await value("'c' IN UNNEST(@ids)", { ids: [] }, { ids: { type: 'array', child: 'string' } })).toBe(false);
    });

    it('can be NaN and infinite', async () => {
      expect(await value('@p = @p', { p: new Float(NaN) })).toBe(false);
      expect(await value('@p > 1', { p: new Float(Infinity) })).toBe(true);
    });
  });

  it.each([
    ['an overflow', 'SELECT 9223372036854775807 + 1', 11, /int64 overflow/],
    ['a division by zero', 'SELECT 1 / 0', 11, /division by zero/],
    ['an invalid cast', "SELECT CAST('x' AS INT64)", 11, /Bad int64 value: x/i],
    ['a FLOAT64 literal out of range', 'SELECT 1e400', 3, /Invalid floating point literal: 1e400/],
    ['a cast out of the range of FLOAT64', "SELECT CAST('1e400' AS FLOAT64)", 11, /1e400/i],
    ['a name directly after a number', 'SELECT 123abc', 3, /Missing whitespace between literal and alias/],
    ['half of a surrogate pair', String.raw`SELECT '\ud800'`, 3, /Illegal escape sequence/],
    ['an invalid timestamp', "SELECT TIMESTAMP '2024-02-30 00:00:00Z'", 3, /Invalid TIMESTAMP/],
    ['types that cannot be compared', "SELECT 1 = 'a'", 3, /No matching signature for operator = .*INT64, STRING/],
    ['an unknown name', 'SELECT nothing', 3, /Unrecognized name: nothing \[at 1:8\]/],
    ['a missing parameter', 'SELECT @p', 3, /p/],
    ['a syntax error', 'SELECT 1 +', 3, /Syntax error: .*\[at 1:11\]/],
  ])('%s is an error', async (_name, sql, code, message) => {
    await expect(target.database.run(sql)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
