import { invalidArgument } from './status.js';

/** The patterns of resource names. A name that does not match fails with INVALID_ARGUMENT before any lookup. */
const SHAPES = {
  project: /^projects\/[^/]+$/,
  instance: /^projects\/[^/]+\/instances\/[^/]+$/,
  database: /^projects\/[^/]+\/instances\/[^/]+\/databases\/[^/]+$/,
  session: /^projects\/[^/]+\/instances\/[^/]+\/databases\/[^/]+\/sessions\/[^/]+$/,
  operation: /^projects\/[^/]+\/instances\/[^/]+\/(?:databases\/[^/]+\/)?operations\/[^/]+$/,
};

export const checkName = (kind: keyof typeof SHAPES, name: string | null | undefined): string => {
  if (!SHAPES[kind].test(name ?? '')) throw invalidArgument(`Invalid ${kind} uri: ${name ?? ''}`);
  return name!;
};

/** https://cloud.google.com/spanner/docs/reference/rest/v1/projects.instances/create */
export const checkNewInstance = (id: string): void => {
  if (id.length <= 64 && /^[a-z][-a-z0-9]*[a-z0-9]$/.test(id)) return;
  throw invalidArgument(
    `Invalid instance ID "${id}": it must have 2 to 64 characters, which are lowercase letters, digits and hyphens, ` +
      'start with a letter, and not end with a hyphen.',
  );
};

/** https://cloud.google.com/spanner/docs/reference/rest/v1/projects.instances.databases/create */
export const checkNewDatabase = (id: string): void => {
  if (id.length <= 30 && /^[a-z][-_a-z0-9]*[a-z0-9]$/.test(id)) return;
  throw invalidArgument(
    `Invalid database name "${id}": it must have 2 to 30 characters, which are lowercase letters, digits, underscores ` +
      'and hyphens, start with a letter, and not end with an underscore or a hyphen.',
  );
};
