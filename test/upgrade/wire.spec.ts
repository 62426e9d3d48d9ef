import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Envelope } from '../../libs/hedge/src/wire/hedge/v1/link.js';
import { FRAMES } from './messages.js';

/** The recorded message of version 0.1.0 for each of these frames. */
const recorded = JSON.parse(readFileSync('test/upgrade/wire-0.1.json', 'utf8')) as Readonly<Record<string, string>>;

describe('the wire of version 0.1', () => {
  it.each(FRAMES.map((body) => [body.$case, body] as const))('%s is read with each recorded value', (name, body) => {
    const message = Buffer.from(recorded[name] ?? '', 'base64');
    expect(Envelope.decode(message).frames[0]?.body).toMatchObject(body);
  });

  it.each(FRAMES.map(({ $case }) => $case))(
    '%s is written with the same bytes when new fields have no value',
    (name) => {
      const message = Buffer.from(recorded[name] ?? '', 'base64');
      const again = Envelope.encode(Envelope.decode(message)).finish();
      expect(Buffer.from(again).toString('base64')).toBe(recorded[name]);
    },
  );
});
