/** A code block of a Markdown text, with the comment that names its file. */
export interface Block {
  /** `test/readme/orders.ts#send`, from the line `<!-- test/readme/orders.ts#send -->` above the block. */
  readonly source: string | undefined;
  readonly code: string;
  /** Line of the opening fence, from 1. */
  readonly line: number;
}

/** The TypeScript blocks of a Markdown text. */
export function typescriptBlocks(markdown: string): Block[] {
  const blocks: Block[] = [];
  const lines = markdown.split('\n');
  for (let at = 0; at < lines.length; at += 1) {
    if (!/^```(ts|typescript)\b/.test(lines[at]!)) continue;
    const end = lines.indexOf('```', at);
    const above = lines
      .slice(0, at)
      .filter((line) => line !== '')
      .at(-1);
    blocks.push({
      source: /^<!-- (\S+) -->$/.exec(above ?? '')?.[1],
      code: lines.slice(at + 1, end).join('\n'),
      line: at + 1,
    });
    at = end;
  }
  return blocks;
}

/**
 * The text, with each named TypeScript block replaced by the present contents of its file.
 * @param read returns the text of a file.
 * @throws Error when a region does not exist.
 */
export function refreshed(markdown: string, read: (file: string) => string): string {
  const lines = markdown.split('\n');
  for (const { source, code, line } of typescriptBlocks(markdown).reverse()) {
    if (source === undefined) continue;
    const [file = '', name] = source.split('#');
    const length = lines.indexOf('```', line) - line;
    const now = region(read(file), name);
    if (now !== code) lines.splice(line, length, ...now.split('\n'));
  }
  return lines.join('\n');
}

/**
 * The text in a file between `// #region name` and `// #endregion`, without its common indentation; the
 * whole file without a name.
 * @throws Error when there is no such region.
 */
export function region(file: string, name: string | undefined): string {
  if (name === undefined) return file.trimEnd();
  const lines = file.split('\n');
  const start = lines.findIndex((line) => line.trim() === `// #region ${name}`);
  const length = lines.slice(start + 1).findIndex((line) => line.trim() === '// #endregion');
  if (start === -1 || length === -1) throw new Error(`there is no region ${name}`);
  const inside = lines.slice(start + 1, start + 1 + length);
  const indent = Math.min(...inside.filter((line) => line !== '').map((line) => line.search(/\S/)));
  return inside.map((line) => line.slice(indent)).join('\n');
}
