// A member that has used up its file descriptors, and then looks whether it reaches itself.
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
// What is loaded late needs descriptors too.
const first = await checkSelf(transport);
try {
  for (;;) openSync(devNull, 'r');
} catch {
  const second = await checkSelf(transport).catch((error: unknown) => String(error));
  process.send?.({ first, second }, () => process.exit());
}
