// #region typeorm
import type { MigrationInterface, QueryRunner } from 'typeorm';

export class HedgeTables1735689600000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    // The output of: npx nestjs-hedge schema --dialect postgres, between BEGIN and COMMIT
    await runner.query(`CREATE SCHEMA IF NOT EXISTS "hedge"`);
    // …
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`DROP SCHEMA "hedge" CASCADE`);
  }
}
// #endregion
