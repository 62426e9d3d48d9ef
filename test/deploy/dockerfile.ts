/** One instruction of a stage. */
export type Step =
  | { readonly kind: 'copy'; readonly from?: string; readonly sources: readonly string[]; readonly to: string }
  | { readonly kind: 'run'; readonly command: string }
  | { readonly kind: 'workdir'; readonly path: string }
  | { readonly kind: 'env'; readonly values: Readonly<Record<string, string>> }
  | { readonly kind: 'user'; readonly user: string }
  | { readonly kind: 'expose'; readonly ports: readonly number[] }
  | { readonly kind: 'cmd'; readonly argv: readonly string[] };

/** One FROM with its instructions. */
export interface Stage {
  readonly name: string;
  readonly base: string;
  readonly steps: readonly Step[];
}

/**
 * Parses the stages of a Dockerfile; the last stage is the image. Supports only the instructions of our Dockerfile.
 * @throws Error for any other instruction or flag, so that none is ignored silently.
 */
export function parseDockerfile(text: string): Stage[] {
  const stages: { name: string; base: string; steps: Step[] }[] = [];
  for (const line of logicalLines(text)) {
    const [, instruction = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    const stage = stages.at(-1);
    if (instruction === 'ARG' && stage === undefined) continue; // selects a base image, which is not used here
    if (instruction === 'FROM') {
      const [base = '', , name = ''] = rest.split(/\s+/);
      stages.push({ name, base, steps: [] });
    } else if (stage === undefined) {
      throw new Error(`${line}: comes before FROM`);
    } else {
      stage.steps.push(step(instruction, rest));
    }
  }
  return stages;
}

/** The lines without comments and empty lines, with continued lines joined. */
function logicalLines(text: string): string[] {
  return text
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

function step(instruction: string, rest: string): Step {
  const words = rest.split(/\s+/);
  const wrong = () => new Error(`${instruction} ${rest}: test/deploy/dockerfile.ts does not support this instruction`);
  switch (instruction) {
    case 'COPY': {
      const from = words[0]!.startsWith('--from=') ? words.shift()!.slice('--from='.length) : undefined;
      if (words.length < 2 || words[0]!.startsWith('-')) throw wrong();
      return { kind: 'copy', sources: words.slice(0, -1), to: words.at(-1)!, ...(from === undefined ? {} : { from }) };
    }
    case 'RUN':
      if (rest.startsWith('-') || rest.startsWith('[')) throw wrong();
      return { kind: 'run', command: rest };
    case 'WORKDIR':
      if (!rest.startsWith('/')) throw wrong();
      return { kind: 'workdir', path: rest };
    case 'ENV': {
      const pairs = words.map((word) => /^(\w+)=([^"'\\$]*)$/.exec(word));
      if (pairs.some((pair) => pair === null)) throw wrong();
      return { kind: 'env', values: Object.fromEntries(pairs.map((pair) => [pair![1]!, pair![2]!])) };
    }
    case 'USER':
      return { kind: 'user', user: rest };
    case 'EXPOSE':
      return { kind: 'expose', ports: words.map(Number) };
    case 'CMD':
      if (!rest.startsWith('[')) throw wrong(); // the shell form would start a shell before the program
      return { kind: 'cmd', argv: JSON.parse(rest) as string[] };
    default:
      throw wrong();
  }
}
