import {
  BadRequestException,
  Catch,
  Controller,
  Inject,
  Injectable,
  Scope,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import type { CallHandler, CanActivate, ExceptionFilter, ExecutionContext, NestInterceptor } from '@nestjs/common';
import { REQUEST } from '@nestjs/core';
import { Ctx, MessagePattern, Payload, RpcException } from '@nestjs/microservices';
import { IsInt } from 'class-validator';
import { EMPTY, NEVER, map, of, throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { HedgeContext, HedgeError, OnBroadcast, OnLeaderMessage } from 'nestjs-hedge';

@Injectable()
export class Stock {
  readonly unit = 3;
}

@Injectable()
class DenyGuard implements CanActivate {
  constructor(private readonly stock: Stock) {}
  canActivate(context: ExecutionContext): boolean {
    const data = context.switchToRpc().getData<{ deny?: boolean } | undefined>();
    return this.stock.unit === 3 && data?.deny !== true;
  }
}

@Injectable()
class Wrap implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle().pipe(map((wrapped: unknown) => ({ wrapped })));
  }
}

class Boom extends Error {}

@Catch(Boom)
export class BoomFilter implements ExceptionFilter {
  catch(error: Boom): Observable<never> {
    return throwError(() => ({ boom: error.message, message: 'caught' }));
  }
}

class Order {
  @IsInt()
  qty!: number;
}

@UseGuards(DenyGuard)
@UseFilters(BoomFilter)
@Controller()
export class Orders {
  constructor(private readonly stock: Stock) {}

  @UsePipes(new ValidationPipe({ transform: true, whitelist: true }))
  @UseInterceptors(Wrap)
  @OnLeaderMessage('price')
  price(@Payload() order: Order, @Ctx() context: HedgeContext) {
    return { total: order.qty * this.stock.unit, isOrder: order instanceof Order, id: context.requestId };
  }

  @OnLeaderMessage('both')
  @OnBroadcast('both')
  both(@Ctx() context: HedgeContext) {
    return { token: String(context.fencingToken), from: context.from.address, attempt: context.attempt };
  }

  @OnLeaderMessage('boom') boom() {
    throw new Boom('bang');
  }
  @OnLeaderMessage('plain') async plain() {
    throw new Error('no stock');
  }
  @OnLeaderMessage('http') http() {
    throw new BadRequestException('qty', { description: 'too few' });
  }
  @OnLeaderMessage('rpc') rpc() {
    throw new RpcException({ reason: 'closed' });
  }
  @OnLeaderMessage('not-leader') notLeader() {
    throw new HedgeError('NOT_LEADER', 'a call of the handler failed');
  }
  @OnLeaderMessage('nothing') nothing() {}
  @OnLeaderMessage('bytes') bytes(@Payload() bytes: Uint8Array) {
    return bytes.map((byte) => byte + 1);
  }
  @OnLeaderMessage('bigint') bigint() {
    return 1n;
  }
  @OnLeaderMessage('last') last() {
    return of(1, 2, 3);
  }
  @OnLeaderMessage('empty') empty() {
    return EMPTY;
  }
  @OnLeaderMessage('never') never() {
    return NEVER;
  }
}

@Injectable()
export class Jobs {
  constructor(private readonly stock: Stock) {}

  @UseGuards(DenyGuard)
  @OnLeaderMessage('job')
  job(@Payload() data: unknown) {
    return { data, unit: this.stock.unit };
  }
}

@Injectable({ scope: Scope.REQUEST })
export class Scoped {
  static made = 0;
  readonly number = ++Scoped.made;
  constructor(
    private readonly stock: Stock,
    @Inject(REQUEST) private readonly request: { getData(): unknown },
  ) {}

  @UseGuards(DenyGuard)
  @OnBroadcast('scoped')
  scoped() {
    return { number: this.number, data: this.request.getData(), unit: this.stock.unit };
  }
}

@Controller({ scope: Scope.REQUEST })
export class ScopedController {
  static made = 0;
  readonly number = ++ScopedController.made;
  constructor(private readonly stock: Stock) {}

  @OnLeaderMessage('scoped') scoped() {
    return { number: this.number, unit: this.stock.unit };
  }
}

@Controller()
export class Foreign {
  @MessagePattern('price') price() {
    return 'foreign';
  }
}

/** Handlers of every kind, in controllers and providers, and one of another transport. */
export const everything = { controllers: [Orders, ScopedController, Foreign], providers: [Jobs, Scoped] };
