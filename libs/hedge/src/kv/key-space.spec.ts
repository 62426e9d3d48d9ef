import { beforeEach, describe, expect, it } from '@jest/globals';
import { secretKey } from '../database/row-names.js';
import type { LogTable } from '../database/log-table.js';
import { memory } from '../database/memory/index.js';
import { checkKeySpace } from './key-space.js';

let log: LogTable;
beforeEach(() => {
  ({ log } = memory().create({ timeoutMs: 1_000 }));
});

const check = (group: string, prefix?: string): Promise<readonly string[]> =>
  checkKeySpace(log, { group, prefix: prefix ?? '', chosen: prefix !== undefined }, 'a:1');

describe('the keys of a group', () => {
  it('cause no warning while no other group uses the tables', async () => {
    expect(await check('a')).toEqual([]);
    expect(await check('a')).toEqual([]);
  });

  it('cause a warning when groups share them, also groups of version 0.1', async () => {
    await check('b');
    await log.append([{ key: secretKey('old'), id: 'secret', value: 's', leader: 'a:1' }]);
    await check('apart', 'apart/');
    const [warning, ...more] = await check('a');
    expect(more).toEqual([]);
    expect(warning).toContain('Group a shares its keys in KvStore with apart, b, old');
    expect(warning).toContain('Set kv.prefix');
  });

  it('are separate when no prefix begins with another', async () => {
    await check('b', 'b/');
    await check('bb', 'bb/');
    expect(await check('a', 'a/')).toEqual([]);
  });

  it('may be shared on purpose', async () => {
    await check('b');
    expect(await check('a', '')).toEqual([]);
  });

  it('cause one warning when the prefix changed', async () => {
    await check('a');
    expect(await check('a', 'a/')).toEqual([
      expect.stringContaining('The keys of group a in KvStore begin with "a/" now, and began with no prefix before'),
    ]);
    expect(await check('a', 'a/')).toEqual([]);
  });

  it('replace a row that this version cannot read', async () => {
    await log.overwrite({ key: '__hedge/kv/a', value: 'not ours', leader: 'b:1' });
    expect(await check('a', 'a/')).toEqual([]);
    expect((await log.latest('__hedge/kv/a'))?.value).toBe('{"prefix":"a/"}');
  });
});
