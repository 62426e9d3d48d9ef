// A replacement for the parts of the generated client that this example uses: `prisma generate` downloads a native engine,
// and the tests of this repository must not download. In your application import PrismaClient from './generated/client.js';
// the other files of the example do not change.

interface Count {
  readonly count: number;
}

interface Invoice {
  readonly id: string;
  readonly cents: number;
  readonly sentAt: Date | null;
}

export interface Transaction {
  readonly fence: {
    createMany(args: { data: { name: string; token: bigint }; skipDuplicates: true }): Promise<Count>;
    updateMany(args: { where: { name: string; token: { lte: bigint } }; data: { token: bigint } }): Promise<Count>;
  };
  readonly invoice: {
    findMany(args: { where: { sentAt: null } }): Promise<Invoice[]>;
    updateMany(args: { where: { id: string; sentAt: null }; data: { sentAt: Date } }): Promise<Count>;
  };
}

/** An abstract class, so that it is also the injection token. */
export abstract class PrismaClient {
  abstract readonly fence: Transaction['fence'];
  abstract readonly invoice: Transaction['invoice'];
  abstract $transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result>;
  abstract $connect(): Promise<void>;
  abstract $disconnect(): Promise<void>;
}
