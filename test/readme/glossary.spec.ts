import { describe, expect, it } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const SOURCES = 'libs/hedge/src';
const glossary = readFileSync('docs/glossary.md', 'utf8');

describe('the glossary', () => {
  it('explains each term once', () => {
    const terms = glossary.match(/^\| (?!term|-)[^|]+/gm)!.flatMap((cell) => cell.slice(2).split(','));
    const names = terms.map((term) => term.trim());
    expect(names.length).toBeGreaterThan(90);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  it('names classes and functions that the code declares', () => {
    const [, terms] = glossary.split('## Terms of the code');
    const cells = terms!.match(/^\| `[^|]+/gm)!.join('');
    const names = [...cells.matchAll(/`(\w+)`/g)].map(([, name]) => name!);
    expect(names.length).toBeGreaterThan(20);
    const code = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => readFileSync(join(SOURCES, file), 'utf8'))
      .join('\n');
    const declared = (name: string) => new RegExp(`\\b(class|interface|function) ${name}\\b`).test(code);
    expect(names.filter((name) => !declared(name))).toEqual([]);
  });
});
