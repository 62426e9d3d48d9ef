// `npm run api`: writes the public API of nestjs-hedge to docs/api, from the built declarations, one page for each entry
// point. `--check` fails if a page is not up to date, so that a review shows each change of the public API.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { root } from './workspace.mjs';

const library = join(root, 'libs/hedge');
const pages = join(root, 'docs/api');
const { name, exports } = JSON.parse(readFileSync(join(library, 'package.json'), 'utf8'));

const entries = Object.entries(exports)
  .filter(([, conditions]) => conditions.default?.types !== undefined)
  .map(([path, conditions]) => ({
    module: join(name, path),
    page: `${path === '.' ? 'index' : path.slice(2)}.api.md`,
    file: join(library, conditions.default.types),
  }));
if (entries.length === 0) throw new Error('No entry point in libs/hedge/package.json has types, so none was read.');

const program = ts.createProgram(
  entries.map(({ file }) => file),
  {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    skipLibCheck: true,
  },
);
const checker = program.getTypeChecker();
const printer = ts.createPrinter({ removeComments: true });

const written = new Map(entries.map((entry) => [entry.page, pageOf(entry)]));
if (process.argv.includes('--check')) check();
else write();

function write() {
  rmSync(pages, { recursive: true, force: true });
  mkdirSync(pages, { recursive: true });
  for (const [page, text] of written) writeFileSync(join(pages, page), text);
  console.log(`docs/api: ${written.size} pages`);
}

function check() {
  const committed = readdirSync(pages);
  const stale = [...new Set([...written.keys(), ...committed])].filter(
    (page) => !committed.includes(page) || readFileSync(join(pages, page), 'utf8') !== written.get(page),
  );
  if (stale.length === 0) return;
  console.error(`The public API differs from docs/api/${stale.join(', docs/api/')}.`);
  console.error('Run `npm run api`, look at the difference, commit it, and name a breaking change in CHANGELOG.md.');
  process.exitCode = 1;
}

function pageOf({ module, file }) {
  const source = program.getSourceFile(file);
  if (source === undefined) throw new Error(`${file} does not exist. Build the library first: npm run build.`);
  const exported = new Map(
    checker
      .getExportsOfModule(checker.getSymbolAtLocation(source))
      .map((symbol) => [symbol.name, symbol])
      .toSorted(byName),
  );
  const seen = new Set([...exported.values()].map(resolved));
  const used = new Map();
  const follow = (symbol) => {
    for (const declaration of symbol.declarations ?? []) {
      eachReference(declaration, (other) => {
        if (seen.has(other) || !isOwn(other)) return;
        seen.add(other);
        used.set(other.name, other);
        follow(other);
      });
    }
  };
  for (const symbol of exported.values()) follow(resolved(symbol));
  const lines = [
    `# API of ${module}`,
    '',
    'Written by `npm run api` from the declarations. Do not edit.',
    '',
    '```ts',
    ...[...exported].map(([as, symbol]) => textOf(resolved(symbol), as)),
    '```',
  ];
  if (used.size > 0) {
    const internal = [...used].toSorted(byName).map(([as, symbol]) => textOf(symbol, as));
    lines.push('', '## Types that these use, and that are not exported', '', '```ts', ...internal, '```');
  }
  return `${lines.join('\n')}\n`;
}

function byName([a], [b]) {
  return a < b ? -1 : 1;
}

function resolved(symbol) {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

function isOwn(symbol) {
  const file = symbol.declarations?.[0]?.getSourceFile().fileName;
  return file !== undefined && file.startsWith(join(library, 'dist'));
}

/** The symbols that a declaration names, without those of constructors and private members. */
function eachReference(node, found) {
  ts.forEachChild(node, (child) => {
    if (ts.isConstructorDeclaration(child) || isPrivate(child)) return;
    if (ts.isIdentifier(child) && (ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node))) {
      const symbol = checker.getSymbolAtLocation(child);
      if (symbol !== undefined && !(symbol.flags & ts.SymbolFlags.TypeParameter)) found(resolved(symbol));
    }
    eachReference(child, found);
  });
}

function isPrivate(node) {
  const named = node.name !== undefined && ts.isPrivateIdentifier(node.name);
  return (
    named || (ts.canHaveModifiers(node) && node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword))
  );
}

function textOf(symbol, as) {
  const texts = (symbol.declarations ?? []).map((declaration) => {
    const shown = shownOf(declaration);
    return printer.printNode(ts.EmitHint.Unspecified, shown, declaration.getSourceFile());
  });
  const note = symbol.name === as ? '' : `// exported as ${as}\n`;
  return `${note}${texts.join('\n').replaceAll(/^export declare |^export |^declare /gm, '')}\n`;
}

function shownOf(declaration) {
  if (ts.isVariableDeclaration(declaration)) return declaration.parent.parent;
  if (!ts.isClassDeclaration(declaration)) return declaration;
  const { modifiers, name: className, typeParameters, heritageClauses, members } = declaration;
  const visible = members.filter((member) => !isPrivate(member));
  return ts.factory.updateClassDeclaration(declaration, modifiers, className, typeParameters, heritageClauses, visible);
}
