// Adds a CommonJS copy of all files to the built library, for Jest in CommonJS applications, which cannot require() ES
// modules, as Node can. Node itself never loads it: the export condition "module-sync" comes first.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { transformSync } from '@swc/core';
import { root } from './workspace.mjs';

const dist = join(root, 'libs/hedge/dist');
const target = join(dist, 'commonjs');

rmSync(target, { recursive: true, force: true });
const files = readdirSync(dist, { recursive: true, encoding: 'utf8' });
for (const name of files.filter((file) => file.endsWith('.js'))) {
  const { code } = transformSync(readFileSync(join(dist, name), 'utf8'), {
    swcrc: false,
    jsc: { target: 'es2022', parser: { syntax: 'ecmascript' } },
    module: { type: 'commonjs' }, // import.meta.url becomes the URL of __filename
  });
  mkdirSync(dirname(join(target, name)), { recursive: true });
  writeFileSync(join(target, name), code);
}
for (const name of files.filter((file) => file.endsWith('.html'))) cpSync(join(dist, name), join(target, name));
// The types say "CommonJS" by their place, so that TypeScript accepts a require() of them under module: node16 too.
for (const name of files.filter((file) => file.endsWith('.d.ts'))) cpSync(join(dist, name), join(target, name));
writeFileSync(join(target, 'package.json'), '{ "type": "commonjs" }\n');
