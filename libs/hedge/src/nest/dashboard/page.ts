import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** The page and its headers. It is one file without references to others, so it works at any path and behind any proxy. */
export function readPage(): { readonly html: string; readonly headers: Readonly<Record<string, string>> } {
  const html = readFileSync(new URL('page.html', import.meta.url), 'utf8');
  return {
    html,
    headers: {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Security-Policy': [
        "default-src 'none'",
        `script-src '${hashOf('script', html)}'`,
        `style-src '${hashOf('style', html)}'`,
        "connect-src 'self'",
        'img-src data:',
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
      ].join('; '),
      'X-Frame-Options': 'DENY',
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'no-referrer',
      'Cache-Control': 'no-store',
    },
  };
}

function hashOf(tag: 'script' | 'style', html: string): string {
  const [, text = ''] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(html) ?? [];
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}
