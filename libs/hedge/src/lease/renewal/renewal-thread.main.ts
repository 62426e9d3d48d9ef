import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import type { BackendFactory } from '../../database/backend.js';
import { systemClock } from '../../common/clock.js';
import { RenewalThread } from './renewal-thread.js';
import type { FromRenewalThread, RenewalThreadData, ToRenewalThread } from './renewal.messages.js';

// The file with which the renewal thread starts.

const port = parentPort as MessagePort;
const { backend, timing, maxStallMs, liveness } = workerData as RenewalThreadData;
const post = (message: FromRenewalThread): void => port.postMessage(message);

// `require`, because the CommonJS copy of the build has no `import`.
const driver = createRequire(import.meta.url)(fileURLToPath(backend.module)) as Record<
  string,
  (options: unknown) => BackendFactory
>;
const made = driver[backend.make]!(backend.options).create({ timeoutMs: timing.backendTimeoutMs });
const thread = new RenewalThread({ backend: made, timing, maxStallMs, liveness, clock: systemClock, post });

port.on('message', (message: ToRenewalThread) => {
  if (message.type !== 'end') return thread.receive(message);
  // After this nothing keeps the thread alive, so it ends.
  void thread.close().finally(() => port.close());
});
// Connects now, so that the first renewal does not wait for it. If that fails, the first renewal tries again.
void made.open().catch(() => undefined);
post({ type: 'ready' });
