import { describe, expect, it } from '@jest/globals';
import { GrpcMessageReader } from './grpc-message-reader.js';

function framed(text: string, flag = 0): Buffer {
  const head = Buffer.from([flag, 0, 0, 0, 0]);
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, Buffer.from(text)]);
}

function read(reader: GrpcMessageReader): string[] {
  const messages: string[] = [];
  for (let message = reader.next(); message !== undefined; message = reader.next()) messages.push(String(message));
  return messages;
}

describe('GrpcMessageReader', () => {
  const wire = Buffer.concat(['one', '', 'a longer message', 'x'.repeat(1_000)].map((text) => framed(text)));

  it.each([1, 2, 5, 7, 64, 10_000])('finds the messages in chunks of %i bytes', (size) => {
    const reader = new GrpcMessageReader(() => true);
    const messages: string[] = [];
    for (let at = 0; at < wire.byteLength; at += size) {
      reader.push(wire.subarray(at, at + size));
      messages.push(...read(reader));
    }
    expect(messages).toEqual(['one', '', 'a longer message', 'x'.repeat(1_000)]);
  });

  it('keeps messages until they are read', () => {
    const reader = new GrpcMessageReader(() => true);
    for (const byte of wire) reader.push(Buffer.from([byte]));
    expect(read(reader)).toHaveLength(4);
    expect(reader.next()).toBeUndefined();
  });

  it('rejects a message that is too long as soon as its length has arrived', () => {
    const reader = new GrpcMessageReader((length) => length <= 10);
    reader.push(framed('1234567890'));
    expect(read(reader)).toEqual(['1234567890']);
    reader.push(framed('12345678901').subarray(0, 5));
    expect(() => reader.next()).toThrow('11 bytes');
  });

  it('rejects a compressed message', () => {
    const reader = new GrpcMessageReader(() => true);
    reader.push(framed('zip', 1));
    expect(() => reader.next()).toThrow('compressed');
  });

  it('allocates separate memory for each message', () => {
    const reader = new GrpcMessageReader(() => true);
    const chunk = framed('mine');
    reader.push(chunk);
    const message = reader.next();
    chunk.fill(0);
    expect(String(message)).toBe('mine');
  });
});
