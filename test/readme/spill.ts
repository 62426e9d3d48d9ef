import type { SpillStore } from 'nestjs-hedge';

interface Row {
  readonly id: number;
}

export async function importRows(spill: SpillStore, rows: AsyncIterable<Row>, load: (row: Row) => Promise<void>) {
  // #region spill
  await spill.use('import', { copies: 2 }, async (data) => {
    for await (const row of rows) await data.write(JSON.stringify(row));
    const { records, shares } = await data.close(); // every record is placed; shares: the amount on each pod
    console.log(records, shares);
    for await (const record of data.read()) await load(JSON.parse(record.toString()) as Row);
  }); // freed on all pods
  // #endregion
}
