import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseDockerfile, type Stage, type Step } from './dockerfile.js';

const exec = promisify(execFile);

/** The command that installs all locked packages. They are linked from the repository instead, to save a minute. */
const INSTALL_ALL = 'npm install --no-save --ignore-scripts';

/** An image without its base: the files in a folder, and the start command of a container. */
export interface Image {
  /** The folder that represents `/` of the image. */
  readonly root: string;
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly ports: readonly number[];
  readonly argv: readonly string[];
}

/**
 * Runs the steps of a Dockerfile like `docker build`, in folders below `temp`: copies the files of the context that
 * `.dockerignore` does not exclude, runs the commands, and copies between stages. The base image is this machine: Node,
 * npm and a shell.
 * @throws Error with the output of a failed command.
 */
export async function buildImage(context: string, dockerfile: string, temp: string): Promise<Image> {
  const ignored = ignoring(readFileSync(join(context, '.dockerignore'), 'utf8'));
  const built = new Map<string, Image>();
  let image: Image | undefined;
  for (const [index, stage] of parseDockerfile(readFileSync(join(context, dockerfile), 'utf8')).entries()) {
    const root = join(temp, stage.name || `stage-${index}`);
    mkdirSync(root);
    image = await buildStage(stage, { root, workdir: root, env: {}, user: 'root', ports: [], argv: [] });
    built.set(stage.name, image);
  }
  return image!;

  async function buildStage(stage: Stage, from: Image): Promise<Image> {
    let current = from;
    for (const step of stage.steps) current = await apply(step, current);
    return current;
  }

  async function apply(step: Step, stage: Image): Promise<Image> {
    switch (step.kind) {
      case 'workdir': {
        const workdir = join(stage.root, step.path);
        mkdirSync(workdir, { recursive: true });
        return { ...stage, workdir };
      }
      case 'env':
        return { ...stage, env: { ...stage.env, ...step.values } };
      case 'user':
        return { ...stage, user: step.user };
      case 'expose':
        return { ...stage, ports: step.ports };
      case 'cmd':
        return { ...stage, argv: step.argv };
      case 'copy': {
        const origin = step.from === undefined ? context : built.get(step.from)!.root;
        const skip = step.from === undefined ? ignored : () => false;
        for (const source of step.sources) copy(origin, source, step.to, stage, skip);
        break;
      }
      case 'run':
        if (step.command === INSTALL_ALL) linkPackages(context, stage.workdir);
        else await runCommand(step.command, stage);
        break;
    }
    return stage;
  }
}

/** Copies a file into the folder `to/`, or to the path `to`. Copies the contents of a folder into `to`. */
function copy(origin: string, source: string, to: string, stage: Image, skip: (path: string) => boolean): void {
  const from = join(origin, source);
  const target = to.startsWith('/') ? join(stage.root, to) : resolve(stage.workdir, to);
  const intoFolder = /(^|\/)\.?$/.test(to) && !statSync(from).isDirectory();
  cpSync(from, intoFolder ? join(target, basename(from)) : target, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !skip(relative(origin, path)),
  });
}

async function runCommand(command: string, { workdir, env }: Image): Promise<void> {
  const npm = { npm_config_prefer_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false' };
  try {
    await exec('sh', ['-c', command], { cwd: workdir, env: { ...process.env, ...npm, ...env } });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`RUN ${command} failed:\n${stdout}\n${stderr}`, { cause: error });
  }
}

/** All installed packages, but the packages of the repository as they are in this stage. */
function linkPackages(context: string, workdir: string): void {
  const { packages } = JSON.parse(readFileSync(join(context, 'package-lock.json'), 'utf8')) as Lock;
  const folder = join(workdir, 'node_modules');
  mkdirSync(folder);
  for (const name of readdirSync(join(context, 'node_modules'))) {
    const own = packages[`node_modules/${name}`];
    const target = own?.link === true ? join(workdir, own.resolved!) : join(context, 'node_modules', name);
    symlinkSync(target, join(folder, name));
  }
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly link?: boolean; readonly resolved?: string }>>;
}

/** Returns a test for the paths that a `.dockerignore` excludes: those that match a pattern, and all below them. */
function ignoring(text: string): (path: string) => boolean {
  const patterns = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const expressions = patterns.map((pattern) => {
    if (!/^[\w./*-]+$/.test(pattern)) throw new Error(`${pattern}: test/deploy/image.ts does not support this pattern`);
    const escaped = pattern.replaceAll('.', '\\.').replaceAll(/(\*\*\/)|\*/g, (_, deep) => (deep ? '(.*/)?' : '[^/]*'));
    return new RegExp(`^${escaped}(/|$)`);
  });
  return (path) => expressions.some((expression) => expression.test(path));
}
