import { BadRequestException, Body, Controller, Get, HttpCode, NotFoundException, Post, Query } from '@nestjs/common';
import { KvStore, type KvEntry } from 'nestjs-hedge';

@Controller()
export class StorageController {
  constructor(private readonly kv: KvStore) {}

  /** `curl localhost:9090/put -d "key some value"`: any pod accepts it, and the leader writes it. */
  @Post('put')
  put(@Body() body: string | undefined): Promise<KvEntry> {
    const [, key, value] = /^(\S+) (.+)$/s.exec(body ?? '') ?? [];
    if (key === undefined || value === undefined) throw new BadRequestException('the body must be: key value');
    return this.kv.put(key, value);
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
}
