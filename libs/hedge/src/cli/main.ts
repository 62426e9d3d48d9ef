import { parseSchemaCommand, runSchemaCommand, SCHEMA_USAGE, UsageError } from './schema.js';

/** Exit code of a command line that makes no sense, as shells have it. */
const USAGE = 2;

async function main([command, ...args]: readonly string[]): Promise<void> {
  if (command === '--help' || args.includes('--help')) {
    console.log(SCHEMA_USAGE);
    return;
  }
  if (command !== 'schema') {
    throw new UsageError(
      command === undefined ? 'Give a command: schema.' : `${command} is no command. There is: schema.`,
    );
  }
  await runSchemaCommand(parseSchemaCommand(args));
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  if (error instanceof UsageError) console.error(`\n${SCHEMA_USAGE}`);
  process.exitCode = error instanceof UsageError ? USAGE : 1;
});
