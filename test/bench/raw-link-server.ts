import { answer } from './child.js';
import { startRawLinkServer } from './raw-link-floor.js';

await startRawLinkServer(Number(process.env['BENCH_PORT']));
answer({});
