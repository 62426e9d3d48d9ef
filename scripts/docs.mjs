// `npm run docs`: builds the site docs/.vitepress/dist from README.md, the other pages of the repository, and an API
// reference that is made of the doc comments, with a page for each exported name. A broken link fails the build.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startProgress } from './progress.mjs';
import { ensureInstalled, root } from './workspace.mjs';

ensureInstalled();
const { Application, Converter, ReflectionKind } = await import('typedoc');
const { build } = await import('vitepress');

const library = join(root, 'libs/hedge');
const reference = join(root, 'docs/reference');
const site = join(root, 'docs/.vitepress/dist');

let step = 'API reference';
const progress = startProgress(() => step);
try {
  await writeReference();
  step = 'site';
  if (process.stderr.isTTY) progress.stop(); // VitePress shows a progress of its own on a terminal
  await build(join(root, 'docs'));
  checkAnchors();
  console.log('The site is in docs/.vitepress/dist. To look at it: npx vitepress preview docs');
} finally {
  progress.stop();
}

async function writeReference() {
  rmSync(reference, { recursive: true, force: true });
  const modules = entryPoints();
  const app = await Application.bootstrapWithPlugins({
    plugin: ['typedoc-plugin-markdown'],
    entryPoints: [...modules.keys()],
    tsconfig: join(library, 'tsconfig.build.json'),
    skipErrorChecking: true, // `npm run types` reports them
    excludeInternal: true,
    excludePrivate: true,
    excludeExternals: true,
    disableSources: true,
    readme: 'none',
    router: 'kind',
    name: 'API reference',
    out: reference,
    entryFileName: 'index.md',
    navigationJson: join(reference, 'navigation.json'),
    hidePageHeader: true,
    hideBreadcrumbs: true,
    useCodeBlocks: true,
    expandParameters: true,
    indexFormat: 'table',
    parametersFormat: 'table',
    propertiesFormat: 'table',
    logLevel: 'Warn',
    treatWarningsAsErrors: true,
    validation: { invalidLink: true, notExported: false },
  });
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (context, reflection) => {
    if (!reflection.kindOf(ReflectionKind.Module)) return;
    const file = context.getSymbolFromReflection(reflection).declarations[0].fileName;
    reflection.name = modules.get(file);
  });
  // Nest constructs the services, and the library the errors: such constructors have no doc comment.
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const constructor of project.getReflectionsByKind(ReflectionKind.Constructor)) {
      if (!constructor.signatures?.some((signature) => signature.hasComment())) project.removeReflection(constructor);
    }
  });
  const project = await app.convert();
  if (project !== undefined) {
    app.validate(project);
    await app.generateOutputs(project);
  }
  if (app.logger.hasErrors() || app.logger.hasWarnings()) {
    throw new Error('The API reference could not be written. Mend the doc comments that the lines above name.');
  }
}

/** The source file of each entry point of the package, with the name under which users import it. */
function entryPoints() {
  const { name, exports } = JSON.parse(readFileSync(join(library, 'package.json'), 'utf8'));
  const sources = Object.entries(exports).map(([path, conditions]) => [path, conditions['hedge-source']]);
  return new Map(
    sources
      .filter(([, source]) => source !== undefined)
      .map(([path, source]) => [join(library, source), join(name, path)]),
  );
}

/** VitePress checks that each linked page is there. This checks the anchors too, in the pages as they were built. */
function checkAnchors() {
  const pages = new Map(
    readdirSync(site, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.html'))
      .map((file) => [`/${file.replaceAll('\\', '/')}`, readFileSync(join(site, file), 'utf8')]),
  );
  const idsOf = new Map([...pages].map(([page, html]) => [page, new Set(attributes(html, 'id'))]));
  const broken = [...pages].flatMap(([page, html]) =>
    attributes(html, 'href')
      .filter((href) => href.includes('#') && !/^[a-z]+:/.test(href))
      .filter((href) => {
        const { pathname, hash } = new URL(href, `http://site${page}`);
        const ids = idsOf.get(pathname.endsWith('/') ? `${pathname}index.html` : pathname);
        return ids?.has(decodeURIComponent(hash.slice(1))) !== true;
      })
      .map((href) => `${page}: ${href}`),
  );
  if (broken.length > 0) throw new Error(`These links lead to no heading:\n${broken.join('\n')}`);
}

function attributes(html, name) {
  return [...html.matchAll(new RegExp(` ${name}="([^"]+)"`, 'g'))].map(([, value]) => value);
}
