import { DATABASES } from '../../apps/demo/runner/database.js';
import { CommandLine } from '../../apps/demo/runner/command-line.js';
import { withDemo } from './demo.js';
import { escaped, svg } from './svg.js';

const COMMANDS: readonly (readonly string[])[] = [
  ['status'],
  ['members'],
  ['lock', 'invoices', '--wait', '5s', '--', 'sh', '-c', 'echo "sent with the token $HEDGE_FENCING_TOKEN"'],
  ['doctor'],
];

const CHARACTER = 7.8;
const LINE = 18;
const MARGIN = 16;

/** A terminal with the real output of commands, on three pods of the demo. */
export async function drawCommandLine(): Promise<Readonly<Record<string, string>>> {
  return withDemo(await DATABASES['postgres']!(), async (cluster) => {
    const lines: string[] = [];
    for (const command of COMMANDS) {
      const run = new CommandLine(cluster.env, command, command[0]!);
      if ((await run.ended) !== 0) throw new Error(`${command.join(' ')} failed: ${run.errors}`);
      if (lines.length > 0) lines.push('');
      lines.push(`$ npx nestjs-hedge ${command.map(quoted).join(' ')}`, ...run.lines);
    }
    return { 'command-line.svg': terminal(lines) };
  });
}

/** As a person types it. */
function quoted(word: string): string {
  return /^[\w./-]+$/.test(word) ? word : `'${word}'`;
}

function terminal(lines: readonly string[]): string {
  const longest = Math.max(...lines.map(({ length }) => length));
  const texts = lines.flatMap((line, at) => {
    if (line === '') return [];
    const [x, y] = [MARGIN, MARGIN + 13 + at * LINE];
    // The columns stay aligned in the font of any reader.
    const fit = `textLength="${(line.length * CHARACTER).toFixed(1)}" lengthAdjust="spacingAndGlyphs"`;
    const style = line.startsWith('$ ') ? 'mono strong' : 'mono';
    return `<text class="${style}" x="${x}" y="${y}" ${fit} xml:space="preserve">${escaped(line)}</text>`;
  });
  const width = Math.ceil(longest * CHARACTER) + 2 * MARGIN;
  return svg(width, lines.length * LINE + 2 * MARGIN, 'A terminal with commands of nestjs-hedge', texts);
}
