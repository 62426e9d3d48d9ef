import { describe, expect, it } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const SOURCE = resolve('libs/hedge/src');
const MAX_ARROWS = 20;

const diagrams = [
  ...readFileSync('ARCHITECTURE.md', 'utf8').matchAll(/```mermaid\nsequenceDiagram\n([\s\S]*?)```/g),
].map(([, text = '']) => text);

/** The classes of the participants: `participant Name`, or `participant Alias as Name of …`. */
function participantsOf(diagram: string): string[] {
  return [...diagram.matchAll(/^ *participant (?:\w+ as )?(\w+)/gm)].map(([, name = '']) => name);
}

/** The names of all classes and interfaces of the library. */
function declaredTypes(): Set<string> {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  return new Set(
    files.flatMap((file) =>
      [...readFileSync(join(SOURCE, file), 'utf8').matchAll(/^export (?:class|interface) (\w+)/gm)].map(
        ([, name = '']) => name,
      ),
    ),
  );
}

describe('the sequence diagrams of ARCHITECTURE.md', () => {
  it('show a send, a put and a spilled frame, with classes and interfaces of the code', () => {
    expect(diagrams.length).toBe(3);
    const types = declaredTypes();
    expect(diagrams.flatMap(participantsOf).filter((name) => !types.has(name))).toEqual([]);
  });

  it(`have at most ${MAX_ARROWS} arrows each`, () => {
    for (const diagram of diagrams) expect(diagram.match(/--?>>|--x/g)?.length).toBeLessThanOrEqual(MAX_ARROWS);
  });
});
