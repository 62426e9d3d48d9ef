// A member that has used all of its file descriptors, and then checks whether it reaches itself.
import { openSync } from 'node:fs';
import { devNull } from 'node:os';
import { checkSelf } from '../../libs/hedge/src/election/self-check.js';
import { memberTransport } from './member-transport.js';

const transport = memberTransport(2_000);
transport.attach(
  { frame: () => undefined, acknowledged: () => undefined, opened: () => undefined, closed: () => undefined },
  { outstandingAt: () => [], resume: () => false },
);
await transport.listen();
// Modules that are loaded late need descriptors, too.
const first = await checkSelf(transport);
try {
  for (;;) openSync(devNull, 'r');
} catch {
  const second = await checkSelf(transport).catch((error: unknown) => String(error));
  process.send?.({ first, second }, () => process.exit());
}
