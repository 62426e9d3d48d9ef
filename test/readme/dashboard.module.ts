import { type CanActivate, type ExecutionContext, Injectable, Module } from '@nestjs/common';
import { ConfigService } from '@nestjs/config';
import { HedgeModule } from 'nestjs-hedge';
import { HedgeDashboardModule } from 'nestjs-hedge/dashboard';
import { postgres } from 'nestjs-hedge/postgres';

const connectionString = process.env['DATABASE_URL'] ?? '';

interface AppRequest {
  readonly user?: { readonly email: string; readonly isAdmin: boolean };
}

@Injectable()
export class AdminGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return context.switchToHttp().getRequest<AppRequest>().user?.isAdmin === true;
  }
}

// #region dashboard
@Module({
  imports: [
    HedgeModule.forRoot({ group: 'orders', backend: postgres({ connectionString }) }),
    HedgeDashboardModule.forRoot({ path: 'hedge', guards: [AdminGuard] }),
  ],
})
export class AppModule {}
// #endregion

// #region async
HedgeDashboardModule.forRootAsync({
  guards: [AdminGuard],
  inject: [ConfigService],
  useFactory: (config: ConfigService) => ({ actions: config.get('HEDGE_ACTIONS') === 'on' }),
});
// #endregion

// #region actions
HedgeDashboardModule.forRoot({
  guards: [AdminGuard],
  actions: true,
  user: (request: AppRequest) => request.user?.email,
});
// #endregion
