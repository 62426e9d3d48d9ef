import { shown } from './shown.js';

/** Options of earlier versions, with their present names. */
const RENAMED: ReadonlyMap<string, string> = new Map([['waitMs', 'timeoutMs']]);

/** No option has a longer name. */
const MAX_NAME = 32;

/**
 * The message for an unknown option: suggests the option that was probably meant, or lists all.
 * @param path of the object that contains it, with a dot at the end; '' for the options themselves.
 * @param elsewhere full paths of the options of other objects, such as `shutdown.drainMs`.
 */
export function unknownOption(
  path: string,
  name: string,
  known: readonly string[],
  elsewhere: readonly string[] = [],
): string {
  const near = closest(name, known);
  const meant = misplaced(name, elsewhere) ?? (near === undefined ? undefined : `${path}${near}`);
  const hint = meant === undefined ? `Known are ${known.join(', ')}.` : `Did you mean ${meant}?`;
  return `${path}${name.length > MAX_NAME ? shown(name) : name} is not an option. ${hint}`;
}

/** The path of the only option with this name in another object. */
function misplaced(name: string, elsewhere: readonly string[]): string | undefined {
  const found = elsewhere.filter((path) => path.slice(path.lastIndexOf('.') + 1).toLowerCase() === name.toLowerCase());
  return found.length === 1 ? found[0] : undefined;
}

/** The known word that was probably meant: it has this prefix, or at most two letters or a third of its letters differ. */
function closest(word: string, known: readonly string[]): string | undefined {
  const renamed = RENAMED.get(word);
  if (renamed !== undefined && known.includes(renamed)) return renamed;
  const longer = known.filter(
    (candidate) => word.length >= 3 && candidate.toLowerCase().startsWith(word.toLowerCase()),
  );
  if (longer.length === 1) return longer[0];
  let best: string | undefined;
  let fewest = Infinity;
  for (const candidate of known) {
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < fewest && edits <= Math.max(2, candidate.length / 3)) [best, fewest] = [candidate, edits];
  }
  return best;
}

/** Levenshtein distance: letters to insert, delete or change. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, changed));
    }
    row = next;
  }
  return row[b.length]!;
}
