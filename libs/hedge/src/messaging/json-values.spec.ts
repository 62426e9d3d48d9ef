import { Readable } from 'node:stream';
import { describe, expect, it } from '@jest/globals';
import { isStreamLike, notJson } from './json-values.js';

class Order {
  constructor(
    readonly qty: number,
    readonly note?: string,
  ) {}
}

const cyclic: { name: string; self?: unknown } = { name: 'x' };
cyclic.self = cyclic;
const twice = { a: 1 };

describe('notJson', () => {
  it.each([
    ['plain values', { a: null, b: [true, 'é', 1.5, -3], c: { d: {} } }],
    ['a negative zero', -0],
    ['a property that is undefined', { a: undefined }],
    ['an object of a class', new Order(2)],
    ['a Date', { at: new Date(0) }],
    ['an object that says what it is', { toJSON: () => 'it' }],
    ['an object twice, which is no cycle', [twice, { twice }]],
    ['an object without a prototype', Object.assign(Object.create(null) as object, { a: 1 })],
  ])('takes %s', (_, value) => {
    expect(notJson(value)).toBeUndefined();
  });

  it.each([
    ['a BigInt', { a: [{ b: 10n }] }, 'value.a[0].b is the BigInt 10n'],
    ['NaN', { a: NaN }, 'value.a is NaN'],
    ['Infinity', [1, -Infinity], 'value[1] is -Infinity'],
    ['undefined in an array', { list: [1, undefined] }, 'value.list[1] is undefined'],
    ['a hole in an array', Object.assign([], { length: 2 }), 'value[0] is undefined'],
    ['a function', { done: () => 1 }, 'value.done is a function'],
    ['a symbol', { s: Symbol('s') }, 'value.s is a symbol'],
    ['a Map', { map: new Map() }, 'value.map is a Map'],
    ['a Set', new Set(), 'value is a Set'],
    ['an Error', { error: new Error('no') }, 'value.error is an Error'],
    ['a RegExp', /x/, 'value is a RegExp'],
    ['a Promise', [Promise.resolve()], 'value[0] is a Promise'],
    ['bytes inside of a value', { image: new Uint8Array(2) }, 'value.image is bytes'],
    ['an invalid Date', { at: new Date(NaN) }, 'value.at is an invalid Date'],
    ['a cycle', cyclic, 'value.self is a cycle'],
    ['a Readable', { body: Readable.from([]) }, 'value.body is a stream or generator'],
    ['a generator', (function* () {})(), 'value is a stream or generator'],
  ])('names %s, and where it is', (_, value, problem) => {
    expect(notJson(value)).toContain(problem);
  });
});

describe('isStreamLike', () => {
  it('distinguishes streams and generators from lists', () => {
    const streams = [Readable.from([]), new ReadableStream(), (async function* () {})(), [][Symbol.iterator]()];
    expect(streams.map(isStreamLike)).toEqual([true, true, true, true]);
    expect([[], new Map(), 'text', new Uint8Array(1), null, {}].map(isStreamLike)).not.toContain(true);
  });
});
