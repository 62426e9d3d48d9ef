import {
  BadRequestException,
  Body,
  Controller,
  HttpCode,
  Logger,
  Post,
  Res,
  type StreamableFile,
} from '@nestjs/common';
import { createHash, type Hash, randomBytes, randomInt } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { type SpilledData, SpillStore, type SpilledDataManifest } from 'nestjs-hedge';
import { answerWith, closing } from './line-stream.js';

const MIB = 1024 * 1024;
const MAX_RECORD_BYTES = 8 * 1024;

interface Order {
  readonly bytes: number;
  readonly copies: 1 | 2;
  /** Pause between writing and reading in milliseconds, in which a pod can be killed. */
  readonly pauseMs: number;
  readonly signal: AbortSignal;
}

/** Handles more data than this pod can hold. */
@Controller()
export class SpillController {
  private readonly logger = new Logger('Spill');
  private stores = 0;

  constructor(private readonly spill: SpillStore) {}

  /** `curl -N localhost:9090/sos -d 64`: spills 64 MB of random records to all pods, reads them back and compares them. */
  @Post('sos')
  @HttpCode(200)
  sos(@Body() body: string | undefined, @Res({ passthrough: true }) response: ServerResponse): Promise<StreamableFile> {
    const [, size, copies = '1', pauseMs = '0'] = /^([1-9]\d{0,5})(?: ([12])(?: (\d{1,6}))?)?$/.exec(body ?? '') ?? [];
    if (size === undefined) {
      throw new BadRequestException(
        'the body must be: megabytes [copies [pause in milliseconds]], such as: 64, or 32 2',
      );
    }
    const signal = closing(response);
    const order: Order = {
      bytes: Number(size) * MIB,
      copies: copies === '2' ? 2 : 1,
      pauseMs: Number(pauseMs),
      signal,
    };
    return answerWith(this.roundTrip(order));
  }

  /** Yields a line of JSON for each stage. Drops the store at the end, also after an error. */
  private async *roundTrip(order: Order): AsyncGenerator<string, void> {
    const name = `sos-${(this.stores += 1)}`;
    const store = await this.spill.create(name, { copies: order.copies });
    try {
      const writing = this.stage(`${name}: writing`, order);
      const manifest = await write(store, writing);
      const places = where(manifest);
      this.logger.log(`${name}: written to ${JSON.stringify(places)}`);
      const { records } = manifest;
      yield JSON.stringify({ event: 'written', ...writing.figures(), records, where: places });
      await delay(order.pauseMs, undefined, { signal: order.signal });
      const reading = this.stage(`${name}: reading`, order);
      for await (const record of store.read()) reading.saw(record);
      const same = reading.digest() === writing.digest();
      yield JSON.stringify({ event: 'read', ...reading.figures(), sha256: reading.digest(), same });
    } finally {
      await store.drop();
      this.logger.log(`${name}: dropped`);
    }
    yield JSON.stringify({ event: 'dropped' });
  }

  private stage(what: string, { bytes, signal }: Order): Stage {
    return new Stage(bytes, signal, (percent) => this.logger.log(`${what} ${bytes / MIB} MB: ${percent} %`));
  }
}

/** Counts and hashes the records of one direction, and reports its progress ten times. */
class Stage {
  private readonly hash: Hash = createHash('sha256');
  private readonly start = performance.now();
  private bytes = 0;
  private tenths = 0;
  private sum: string | undefined;

  constructor(
    readonly total: number,
    private readonly signal: AbortSignal,
    private readonly progress: (percent: number) => void,
  ) {}

  saw(record: Uint8Array): void {
    this.signal.throwIfAborted();
    // Includes the length, so that two records differ from one concatenated record.
    this.hash.update(`${record.length} `).update(record);
    this.bytes += record.length;
    const tenths = Math.floor((10 * this.bytes) / this.total);
    if (tenths > this.tenths) this.progress(10 * (this.tenths = tenths));
  }

  figures() {
    const seconds = (performance.now() - this.start) / 1_000;
    return { mb: this.bytes / MIB, mbPerSecond: Math.round(this.bytes / MIB / seconds) };
  }

  digest(): string {
    return (this.sum ??= this.hash.digest('hex'));
  }
}

async function write(store: SpilledData, stage: Stage): Promise<SpilledDataManifest> {
  for (const record of randomRecords(stage.total)) {
    stage.saw(record);
    await store.write(record);
  }
  return store.close();
}

/** Records of random lengths, with `bytes` in total. */
function* randomRecords(bytes: number): Generator<Uint8Array, void> {
  for (let left = bytes; left > 0;) {
    const block = randomBytes(Math.min(MIB, left));
    for (let from = 0; from < block.length;) {
      const to = Math.min(block.length, from + randomInt(1, MAX_RECORD_BYTES + 1));
      yield block.subarray(from, to);
      from = to;
    }
    left -= block.length;
  }
}

/** `{ "127.0.0.1:8080 memory": "6.0 MB", … }` */
function where({ shares }: SpilledDataManifest): Record<string, string> {
  const parts = shares.map(({ member, tier, bytes }) => [
    `${member.address} ${tier}`,
    `${(bytes / MIB).toFixed(1)} MB`,
  ]);
  return Object.fromEntries(parts) as Record<string, string>;
}
