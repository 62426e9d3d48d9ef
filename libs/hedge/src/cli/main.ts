import { parseSchemaCommand, runSchemaCommand, SCHEMA_USAGE, UsageError } from './schema.js';

/** Exit code of an invalid command line, as in shells. */
const USAGE = 2;

async function main([command, ...args]: readonly string[]): Promise<void> {
  if (command === '--help' || args.includes('--help')) {
    console.log(SCHEMA_USAGE);
    return;
  }
  if (command !== 'schema') {
    throw new UsageError(
      command === undefined
        ? 'No command was given. Run: nestjs-hedge schema.'
        : `${command} is not a command. Run: nestjs-hedge schema.`,
    );
  }
  await runSchemaCommand(parseSchemaCommand(args));
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  if (error instanceof UsageError) console.error(`\n${SCHEMA_USAGE}`);
  process.exitCode = error instanceof UsageError ? USAGE : 1;
});
