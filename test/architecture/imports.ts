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

/** The permissions of the table that no import uses. */
export function unusedPermissions(imports: readonly Import[], layers: Layers): string[] {
  const used = new Set(imports.map(({ from, to }) => `${layerOf(from, layers)} → ${layerOf(to, layers)}`));
  return Object.entries(layers)
    .flatMap(([layer, allowed]) => allowed.map((other) => `${layer} → ${other}`))
    .filter((permission) => !used.has(permission));
}

/** What a core must not name: time, chance and waiting come in as inputs and go out as effects. */
const IMPURE = new Set([
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'performance',
  'process',
  'Promise',
  'crypto',
]);

/** Where a core names what it must not, one readable line each. */
export function impureNames(source: string): string[] {
  return sources(source)
    .filter((file) => file.endsWith('.core.ts'))
    .flatMap((file) => {
      const text = readFileSync(join(source, file), 'utf8');
      const root = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
      const found: string[] = [];
      const visit = (node: ts.Node): void => {
        if (ts.isTypeNode(node)) return; // a type does nothing
        const name = ts.isIdentifier(node) ? node.text : undefined;
        const clock = ts.isPropertyAccessExpression(node) && /^(Date\.now|Math\.random)$/.test(node.getText());
        const waits = ts.isAwaitExpression(node) || node.kind === ts.SyntaxKind.AsyncKeyword;
        const dated = ts.isNewExpression(node) && node.getText() === 'new Date()';
        if ((name !== undefined && IMPURE.has(name)) || clock || waits || dated)
          found.push(`${file}: ${node.getText()}`);
        ts.forEachChild(node, visit);
      };
      visit(root);
      return [...found, ...packages(source, file).map((name) => `${file}: imports ${name}`)];
    });
}

/** Every import of a package, types included. */
export function packagesOf(source: string): { readonly from: string; readonly name: string }[] {
  return sources(source).flatMap((file) => packages(source, file).map((name) => ({ from: slashed(file), name })));
}

function packages(source: string, file: string): string[] {
  return ts
    .preProcessFile(readFileSync(join(source, file), 'utf8'), true, true)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((name) => !name.startsWith('.'));
}

/** Folders with more source files than that, tests and folders inside left out. */
export function crowdedFolders(source: string, most: number): string[] {
  const counts = new Map<string, number>();
  for (const file of sources(source)) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);
  return [...counts].filter(([, count]) => count > most).map(([folder, count]) => `${folder}: ${count}`);
}

function sources(source: string): string[] {
  return readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.endsWith('.spec.ts') && !file.startsWith('wire/'),
  );
}
