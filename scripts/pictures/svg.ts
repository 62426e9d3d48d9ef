/** The colours of all drawn pictures, in the theme of the reader. Each has its own background, so it is readable on any page. */
const STYLE = `
  svg { --back: #f6f7f9; --text: #1a1d21; --soft: #5a6270; --line: #d9dde3; --one: #1f5fbf; --two: #1a7f42; }
  @media (prefers-color-scheme: dark) {
    svg { --back: #1d2126; --text: #e7e9ec; --soft: #a3abb7; --line: #363c45; --one: #7fb0ff; --two: #5fcb86; }
  }
  .back { fill: var(--back); stroke: var(--line); }
  .line { stroke: var(--line); }
  .one { fill: var(--one); }
  .two { fill: var(--two); }
  text { fill: var(--text); font-size: 13px; }
  .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; }
  .sans { font-family: system-ui, sans-serif; }
  .soft { fill: var(--soft); }
  .strong { font-weight: 600; }`;

/** @param body elements in pixels, which use the classes above */
export function svg(width: number, height: number, title: string, body: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="back" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" />`,
    ...body,
    '</svg>\n',
  ].join('\n');
}

export function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
