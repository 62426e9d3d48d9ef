import { describe, expect, it } from '@jest/globals';
import { assertText, compareText } from './text.js';

describe('assertText', () => {
  it.each(['', 'plain', 'zażółć', '😀', '%_\\', '\uffff'])('takes %j', (text) => {
    expect(() => assertText('key', text)).not.toThrow();
  });

  it.each(['a\0b', '\ud800', 'x\udc00y', '\udc00\ud800'])('refuses %j', (text) => {
    expect(() => assertText('key', text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});

describe('compareText', () => {
  it('orders by UTF-8 bytes also where UTF-16 differs', () => {
    const texts = ['😀', '\uffff', 'b', 'é', 'a', 'ab', ''];
    expect(texts.sort(compareText)).toEqual(['', 'a', 'ab', 'b', 'é', '\uffff', '😀']);
  });
});
