import { describe, expect, it } from '@jest/globals';
import { Encoding } from '../wire/hedge/v1/link.js';
import { PayloadCodec } from './serializer.js';

const codec = new PayloadCodec();
const roundTrip = (value: unknown): unknown => codec.decode('t', codec.encode('t', value));

describe('PayloadCodec', () => {
  it.each([undefined, null, 0, '', 'é🙂', [1, [2]], { a: { b: null } }])('keeps %p', (value) => {
    expect(roundTrip(value)).toEqual(value);
  });

  it('passes bytes through unchanged, without a copy', () => {
    const bytes = new Uint8Array([1, 2, 255]);
    expect(roundTrip(bytes)).toBe(bytes);
    expect(codec.encode('t', Buffer.from('x')).encoding).toBe(Encoding.ENCODING_BYTES);
  });

  it('sends no bytes for undefined', () => {
    expect(codec.encode('t', undefined)).toMatchObject({ encoding: Encoding.ENCODING_NONE, bytes: { length: 0 } });
  });

  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  it.each([[10n], [cyclic], [() => 1], [Symbol('s')]])(
    'rejects a value that JSON cannot represent, and names the topic',
    (value) => {
      expect(() => codec.encode('price', value)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', details: { topic: 'price' } }),
      );
    },
  );

  it('rejects bytes of another serializer and an unknown encoding', () => {
    const bytes = Buffer.from('{');
    for (const encoding of [Encoding.ENCODING_SERIALIZED, Encoding.UNRECOGNIZED]) {
      expect(() => codec.decode('price', { encoding, bytes })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    }
  });

  it('uses the given serializer', () => {
    const upper = new PayloadCodec({
      serialize: (value) => Buffer.from(String(value).toUpperCase()),
      deserialize: (bytes) => Buffer.from(bytes).toString(),
    });
    expect(upper.decode('t', upper.encode('t', 'loud'))).toBe('LOUD');
  });
});
