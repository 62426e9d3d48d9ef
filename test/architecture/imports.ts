import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, sep } from 'node:path';
import ts from 'typescript';

/** One import statement. Both ends are paths from the source folder; the imported end may be a package. */
export interface Import {
  readonly from: string;
  readonly to: string;
}

/** What each folder may import, itself aside. A folder that is not named here is refused. */
export type Layers = Readonly<Record<string, readonly string[]>>;

/** All relative imports and re-exports under a folder of sources, types included, tests left out. */
export function importsOf(source: string): Import[] {
  return files(source)
    .filter((file) => !file.endsWith('.spec.ts'))
    .flatMap((file) =>
      importsIn(read(source, file))
        .filter((name) => name.startsWith('.'))
        .map((name) => ({ from: file, to: posix.join(dirname(file), name) })),
    );
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

/** The permissions of the table that no import uses. */
export function unusedPermissions(imports: readonly Import[], layers: Layers): string[] {
  const used = new Set(imports.map(({ from, to }) => `${layerOf(from, layers)} → ${layerOf(to, layers)}`));
  return Object.entries(layers)
    .flatMap(([layer, allowed]) => allowed.map((other) => `${layer} → ${other}`))
    .filter((permission) => !used.has(permission));
}

/** The imports of Nest outside of the folders that are there for it, one readable line each. Tests count too. */
export function nestOutsideOf(folders: readonly string[], imports: readonly Import[]): string[] {
  return imports
    .filter(({ from, to }) => to.startsWith('@nestjs/') && !folders.some((folder) => from.startsWith(`${folder}/`)))
    .map(({ from, to }) => `${from} imports ${to}: only ${folders.join(' and ')} may import Nest`);
}

/** All imports of packages under a folder of sources, types and tests included. */
export function packagesOf(source: string): Import[] {
  return files(source).flatMap((file) => packagesIn(read(source, file)).map((to) => ({ from: file, to })));
}

function packagesIn(text: string): string[] {
  return importsIn(text).filter((name) => !name.startsWith('.'));
}

/** What a core must not name: time, chance and waiting come in as inputs and go out as effects. */
const IMPURE = new Set([
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
  'systemClock',
  'performance',
  'process',
  'Promise',
  'crypto',
]);

/** What the cores under a folder of sources name that they must not, one readable line each. */
export function impureCores(source: string): string[] {
  return sources(source)
    .filter((file) => file.endsWith('.core.ts'))
    .flatMap((file) => impurities(read(source, file)).map((found) => `${file}: ${found}`));
}

/** What a core with that text names that it must not. */
export function impurities(text: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node)) return; // a type does nothing
    const named = ts.isIdentifier(node) && IMPURE.has(node.text);
    const clock = ts.isPropertyAccessExpression(node) && /^(Date\.now|Math\.random)$/.test(node.getText());
    const waits = ts.isAwaitExpression(node) || node.kind === ts.SyntaxKind.AsyncKeyword;
    const dated = ts.isNewExpression(node) && node.getText() === 'new Date()';
    if (named || clock || waits || dated) found.push(node.getText());
    ts.forEachChild(node, visit);
  };
  visit(parse(text));
  return [
    ...found,
    ...importsIn(text)
      .filter((name) => !name.startsWith('.') || /\.(runner|service|store)\.js$/.test(name))
      .map((name) => `imports ${name}`),
  ];
}

/** The kinds of requests that the sources of a folder name, one readable line each. */
export function requestKindsIn(source: string, folder: string): string[] {
  return sources(source)
    .filter((file) => file.startsWith(`${folder}/`))
    .flatMap((file) => requestKinds(read(source, file)).map((kind) => `${file} names ${kind}`));
}

/** The kinds of requests that a text names. */
export function requestKinds(text: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const named = ts.isIdentifier(node) || ts.isStringLiteralLike(node);
    if (named && node.text.startsWith('REQUEST_KIND_')) found.push(node.text);
    ts.forEachChild(node, visit);
  };
  visit(parse(text));
  return found;
}

/** Folders with more source files than that, tests and folders inside left out. */
export function crowdedFolders(source: string, most: number): string[] {
  const counts = new Map<string, number>();
  for (const file of sources(source)) counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);
  return [...counts].filter(([, count]) => count > most).map(([folder, count]) => `${folder}: ${count}`);
}

/** Sources, without tests and generated code. */
function sources(source: string): string[] {
  return files(source).filter((file) => !file.endsWith('.spec.ts') && !file.startsWith('wire/'));
}

function files(source: string): string[] {
  return readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.split(sep).join('/'));
}

function read(source: string, file: string): string {
  return readFileSync(join(source, file), 'utf8');
}

function parse(text: string): ts.SourceFile {
  return ts.createSourceFile('source.ts', text, ts.ScriptTarget.Latest, true);
}

function importsIn(text: string): string[] {
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
}
