import { dirname, join, normalize } from 'node:path/posix';

export interface Link {
  readonly target: string;
  /** Counted from 1. */
  readonly line: number;
}

/** The links of a Markdown text to other files and to headings; not those to other hosts. */
export function relativeLinks(markdown: string): Link[] {
  return prose(markdown).flatMap((text, index) =>
    [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target]) => ({ target: target!, line: index + 1 }))
      .filter(({ target }) => !/^[a-z]+:/.test(target)),
  );
}

/** The anchors that GitHub gives to the headings of a Markdown text. */
export function anchors(markdown: string): string[] {
  const seen = new Map<string, number>();
  return prose(markdown, false)
    .filter((text) => /^#{1,6} /.test(text))
    .map((text) => {
      const slug = text
        .replace(/^#+ /, '')
        .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
        .trim()
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
        .replaceAll(' ', '-');
      const count = seen.get(slug) ?? 0;
      seen.set(slug, count + 1);
      return count === 0 ? slug : `${slug}-${count}`;
    });
}

/**
 * The broken links of a page, each with its line.
 * @param read returns the text of a file or '' for a folder; undefined when the path does not exist.
 */
export function brokenLinks(page: string, read: (path: string) => string | undefined): string[] {
  return relativeLinks(read(page) ?? '').flatMap(({ target, line }) => {
    const [file = '', anchor] = target.split('#');
    const path = file === '' ? page : normalize(join(dirname(page), file));
    const text = read(path);
    if (text === undefined) return [`${page}:${line}: ${target}: there is no ${path}`];
    if (anchor === undefined || !path.endsWith('.md') || anchors(text).includes(anchor)) return [];
    return [`${page}:${line}: ${target}: ${path} has no heading #${anchor}`];
  });
}

/** The lines, with code blocks and by default also `code` replaced by empty text. */
function prose(markdown: string, withoutCode = true): string[] {
  let fenced = false;
  return markdown.split('\n').map((text) => {
    const fence = /^\s*```/.test(text);
    if (fence) fenced = !fenced;
    if (fence || fenced) return '';
    return withoutCode ? text.replaceAll(/`[^`]*`/g, '') : text;
  });
}
