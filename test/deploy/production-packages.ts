import { readFileSync } from 'node:fs';

interface Package {
  readonly version?: string;
  readonly link?: boolean;
  readonly resolved?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

/**
 * The run-time packages of a workspace according to an npm lock file: path in node_modules and version of each direct and
 * indirect dependency. Ignores optional peers and development dependencies.
 */
export function productionPackages(lockfile: string, workspace: string): Map<string, string> {
  const { packages } = JSON.parse(readFileSync(lockfile, 'utf8')) as { packages: Record<string, Package> };
  const found = new Map<string, string>();
  const visited = new Set<string>();
  visit(workspace);
  return found;

  function visit(path: string): void {
    if (visited.has(path)) return;
    visited.add(path);
    const entry = packages[path]!;
    if (path.includes('node_modules/')) found.set(path, entry.version!);
    for (const name of needs(entry)) {
      const at = resolve(path, name);
      if (at !== undefined) visit(packages[at]!.link === true ? packages[at]!.resolved! : at);
    }
  }

  /** Resolves a package like Node: in node_modules of the folder, then of its parents. */
  function resolve(from: string, name: string): string | undefined {
    const segments = from.split('/');
    for (let length = segments.length; length >= 0; length -= 1) {
      const path = [...segments.slice(0, length), 'node_modules', name].join('/');
      if (path in packages) return path;
    }
    return undefined; // an optional binary of another platform
  }
}

function needs({ dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta }: Package): string[] {
  const peers = Object.keys(peerDependencies ?? {}).filter((name) => peerDependenciesMeta?.[name]?.optional !== true);
  return [...Object.keys({ ...dependencies, ...optionalDependencies }), ...peers];
}
