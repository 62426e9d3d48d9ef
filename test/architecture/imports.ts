import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import ts from 'typescript';

/** One import statement, both ends as paths from the source folder. */
export interface Import {
  readonly from: string;
  readonly to: string;
}

/** What each folder may import, itself aside. A folder that is not named here is refused. */
export type Layers = Readonly<Record<string, readonly string[]>>;

/** All relative imports and re-exports under a folder of sources, types included, tests left out. */
export function importsOf(source: string): Import[] {
  return readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts'))
    .flatMap((file) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(join(source, file), 'utf8'), true, true);
      return importedFiles
        .filter(({ fileName }) => fileName.startsWith('.'))
        .map(({ fileName }) => ({
          from: slashed(file),
          to: slashed(relative(source, join(source, dirname(file), fileName))),
        }));
    });
}

/** The imports that point the wrong way, one readable line each. */
export function wrongImports(imports: readonly Import[], layers: Layers): string[] {
  return imports.flatMap(({ from, to }) => {
    const [importer, imported] = [layerOf(from, layers), layerOf(to, layers)];
    if (importer === undefined) return [`${from} is in no layer: add its folder to the table`];
    if (imported === undefined) return [`${from} imports ${to}, which is in no layer`];
    if (importer === imported || layers[importer]?.includes(imported)) return [];
    return [`${from} imports ${to}: ${importer} may import only ${layers[importer]?.join(', ') || 'itself'}`];
  });
}

/** The longest folder of the table that holds the file; a file at the top is its own layer. */
function layerOf(file: string, layers: Layers): string | undefined {
  const bare = file.replace(/\.[jt]s$/, '');
  return Object.keys(layers)
    .filter((layer) => bare === layer || bare.startsWith(`${layer}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function slashed(path: string): string {
  return path.split(sep).join('/');
}
