import { parseCommandLine, USAGE, UsageError } from './cli-options.js';
import { startSpannerEmulator } from './emulator.js';

const main = async (): Promise<void> => {
  const options = parseCommandLine(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(USAGE);
    return;
  }
  const emulator = await startSpannerEmulator(options);
  const stop = (): void => {
    emulator.close();
    process.exit(0);
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  // Programs wait for this line.
  process.stdout.write(`Spanner emulator ready on ${emulator.address} with ${emulator.database}\n`);
};

main().catch((error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`hedge-spanner-emulator: ${message}\n${error instanceof UsageError ? `\n${USAGE}` : ''}`);
  process.exit(1);
});
