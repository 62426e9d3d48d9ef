import { Body, Controller, Get, Param, Post, Put } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { ClusterService, HedgeContext, KvStore, LeaderService, OnBroadcast, OnLeaderMessage } from 'nestjs-hedge';

@Controller('orders')
export class OrdersController {
  constructor(
    private readonly leader: LeaderService,
    private readonly cluster: ClusterService,
    private readonly kv: KvStore,
  ) {}

  @OnLeaderMessage('price') // runs on the leader only
  price(@Payload() order: { qty: number }, @Ctx() ctx: HedgeContext) {
    return { total: order.qty * 3, attempt: ctx.attempt };
  }

  @OnBroadcast('flush') // runs on every pod, the calling pod included
  flush() {
    return { flushed: true };
  }

  @Post('price') // on any pod: ask the leader
  quote(@Body() order: { qty: number }) {
    return this.leader.send<{ total: number }>('price', order);
  }

  @Post('flush') // on any pod: ask all pods
  flushAll() {
    return this.cluster.broadcast<{ flushed: boolean }>('flush', {});
  }

  @Put(':id') // on any pod: the value survives the loss of any pod
  save(@Param('id') id: string, @Body() order: object) {
    return this.kv.put(`orders/${id}`, JSON.stringify(order));
  }

  @Get(':id')
  load(@Param('id') id: string) {
    return this.kv.get(`orders/${id}`);
  }
}
