import {
  BadRequestException,
  Body,
  Controller,
  Get,
  HttpCode,
  NotFoundException,
  type OnModuleDestroy,
  Post,
  Query,
  Res,
  type StreamableFile,
} from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { KvStore, type KvEntry, type KvOperation, type KvVersion } from 'nestjs-hedge';
import { answerWith, closing } from './line-stream.js';

/** `?ifAbsent`, or `?ifVersion=…&id=…` with both of an entry: the write happens only if that holds. */
interface Condition {
  readonly ifAbsent?: string;
  readonly ifVersion?: string;
  readonly id?: string;
}

interface Watched {
  readonly prefix?: string;
  readonly key?: string;
  readonly from?: string;
}

/** The key/value log. */
@Controller()
export class StorageController implements OnModuleDestroy {
  readonly #stopping = new AbortController();

  constructor(private readonly kv: KvStore) {}

  /** The HTTP server closes only without open requests. */
  onModuleDestroy(): void {
    this.#stopping.abort();
  }

  /**
   * `curl localhost:9090/put -d "key some value"`: any pod accepts it, and the leader writes it. With a `Condition`, too.
   * `?ttlMs=60000` deletes the key after a minute.
   */
  @Post('put')
  put(
    @Body() body: string | undefined,
    @Query() query: Condition,
    @Query('ttlMs') ttlMs: string | undefined,
  ): Promise<KvEntry> {
    const [, key, value] = /^(\S+) (.+)$/s.exec(body ?? '') ?? [];
    if (key === undefined || value === undefined) throw new BadRequestException('the body must be: key value');
    return this.kv.put(key, value, { ...conditionOf(query), ...(ttlMs !== undefined && { ttlMs: Number(ttlMs) }) });
  }

  /** `curl localhost:9090/delete -d key`: the history stays. With a `Condition`, too. */
  @Post('delete')
  delete(@Body() key: string | undefined, @Query() query: Condition): Promise<KvEntry> {
    if (key === undefined) throw new BadRequestException('the body must be a key');
    return this.kv.delete(key, conditionOf(query));
  }

  /** `curl localhost:9090/transaction -d '[{"put":"a","value":"1","ifAbsent":true},{"delete":"b"}]'`: all of it, or nothing. */
  @Post('transaction')
  transaction(@Body() body: string | undefined): Promise<KvEntry[]> {
    return this.kv.transaction(parsed(body ?? '') as KvOperation[]);
  }

  /** `curl localhost:9090/get -d key` */
  @Post('get')
  @HttpCode(200)
  getByBody(@Body() key: string | undefined): Promise<KvEntry> {
    return this.get(key);
  }

  /** `curl localhost:9090/get?key=key`: any pod answers, from the database. */
  @Get('get')
  async get(@Query('key') key: string | undefined): Promise<KvEntry> {
    if (key === undefined) throw new BadRequestException('give a key: /get?key=…');
    const entry = await this.kv.get(key);
    if (entry === undefined) throw new NotFoundException(`the key ${key} has no value`);
    return entry;
  }

  /** `curl "localhost:9090/history?key=key"`: all versions, deletions included, the newest first. */
  @Get('history')
  history(@Query('key') key: string | undefined): Promise<KvEntry[]> {
    if (key === undefined) throw new BadRequestException('give a key: /history?key=…');
    return this.kv.history(key, { limit: Infinity });
  }

  /**
   * `curl -N "localhost:9090/watch?prefix=rates/"`: a line of JSON for each version, until curl or the pod stops. On any pod,
   * `&from=` and the last line (`curl -NG … --data-urlencode "from=$LINE"`) goes on behind it. `?key=` watches one key.
   */
  @Get('watch')
  watch(@Query() watched: Watched, @Res({ passthrough: true }) response: ServerResponse): Promise<StreamableFile> {
    return answerWith(this.versions(watched, AbortSignal.any([closing(response), this.#stopping.signal])));
  }

  private async *versions({ prefix = '', key, from }: Watched, signal: AbortSignal): AsyncGenerator<string, void> {
    const place = from === undefined ? undefined : (parsed(from) as KvEntry);
    const watch = this.kv.watch(key === undefined ? prefix : { key }, { from: place, signal });
    try {
      await watch.ready;
      yield JSON.stringify({ event: 'watching' });
      for await (const entry of watch) yield JSON.stringify(entry);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

function conditionOf({ ifAbsent, ifVersion, id = '' }: Condition): { ifAbsent?: true; ifVersion?: KvVersion } {
  return {
    ...(ifAbsent !== undefined && { ifAbsent: true as const }),
    ...(ifVersion !== undefined && { ifVersion: { version: ifVersion, id } }),
  };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw new BadRequestException(`this is no JSON: ${json}`);
  }
}
