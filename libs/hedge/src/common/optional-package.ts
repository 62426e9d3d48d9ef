/**
 * Explains why an optional package could not be loaded, and how to fix that.
 *
 * @example
 * loadProblem('lz4-napi', error); // 'The package lz4-napi is not installed. Run: npm i lz4-napi.'
 */
export function loadProblem(name: string, cause: unknown): string {
  const { code, message } = cause as { code?: unknown; message?: unknown };
  const reason = String(message ?? cause);
  if (code === 'ERR_DLOPEN_DISABLED') {
    return `The package ${name} cannot be loaded: it is a native add-on, and the permission model of Node forbids add-ons. Start Node with --allow-addons.`;
  }
  // import.meta.url is undefined in a bundle of CommonJS.
  if (String(code).startsWith('ERR_INVALID_ARG_')) {
    return `The package ${name} cannot be found from inside a bundle. Keep nestjs-hedge and ${name} external in the bundler's configuration.`;
  }
  if (String(code).endsWith('MODULE_NOT_FOUND') && reason.includes(`'${name}'`)) {
    return `The package ${name} is not installed. Run: npm i ${name}.`;
  }
  return `The package ${name} cannot be loaded: ${reason.split('\n', 1)[0]}. Install it again: npm i ${name}.`;
}
