import { Column, Entity, PrimaryColumn } from 'typeorm';

@Entity()
export class Invoice {
  @PrimaryColumn({ type: 'varchar', length: 50 })
  id!: string;

  @Column({ type: 'integer' })
  cents!: number;

  /** When it was sent to the customer. */
  @Column({ type: 'varchar', length: 30, nullable: true })
  sentAt!: string | null;
}
