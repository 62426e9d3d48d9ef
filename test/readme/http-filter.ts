import { Module } from '@nestjs/common';
import { APP_FILTER } from '@nestjs/core';
import { HedgeHttpFilter } from 'nestjs-hedge';

// #region filter
@Module({ providers: [{ provide: APP_FILTER, useClass: HedgeHttpFilter }] })
export class ErrorsModule {}
// #endregion
