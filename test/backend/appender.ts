/**
 * Appends batches of rows to one key without end, and reports each acknowledged batch.
 *
 * Usage: appender.ts FILE KEY BATCH_SIZE
 */
import { writeSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { sqlite } from 'nestjs-hedge/sqlite';

export interface Acknowledged {
  /** All ids of the batch begin with it. */
  readonly batch: string;
  readonly timestamps: readonly string[];
}

const [file = '', key = '', size = ''] = process.argv.slice(2);
const backend = sqlite({ file }).create({ timeoutMs: 5_000 });

for (;;) {
  const batch = randomUUID();
  const rows = Array.from({ length: Number(size) }, (_, i) => ({
    key,
    id: `${batch}/${i}`,
    value: 'x'.repeat(2_000),
    leader: String(process.pid),
  }));
  const timestamps = (await backend.log.append(rows)).map((outcome) => {
    if (outcome instanceof Error) throw outcome;
    return String(outcome.timestamp);
  });
  const acknowledged: Acknowledged = { batch, timestamps };
  writeSync(1, `${JSON.stringify(acknowledged)}\n`);
}
