"""Drives a Spanner server with Google's Python client: its requests, and the mistakes that a server can make."""

import datetime
import os
import sys
import threading

from google.api_core import exceptions
from google.cloud import spanner
from google.cloud.spanner_v1 import KeyRange, KeySet

TABLE = """CREATE TABLE counts (
  k STRING(MAX) NOT NULL,
  n INT64 NOT NULL,
  changed TIMESTAMP OPTIONS (allow_commit_timestamp=true)
) PRIMARY KEY (k)"""
COLUMNS = ("k", "n", "changed")
WORKERS = 6


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def count(source, key="a"):
    rows = source.execute_sql("SELECT n FROM counts WHERE k = @k", params={"k": key}, param_types={"k": STRING})
    return [row[0] for row in rows]


STRING = spanner.param_types.STRING


def schema(instance, name):
    database = instance.database(name, ddl_statements=[TABLE])
    database.create().result(30)
    database.update_ddl(["CREATE INDEX by_n ON counts (n DESC) STORING (changed)"]).result(30)
    expect(name in [listed.name.split("/")[-1] for listed in instance.list_databases()], "it is not listed")
    database.reload()
    expect("CREATE INDEX by_n" in "\n".join(database.ddl_statements), database.ddl_statements)
    return database


def information_schema(database):
    with database.snapshot() as snapshot:
        columns = snapshot.execute_sql(
            "SELECT column_name, spanner_type FROM information_schema.columns"
            " WHERE table_schema = '' AND table_name = 'counts' ORDER BY ordinal_position"
        )
        expect([list(row) for row in columns] == [["k", "STRING(MAX)"], ["n", "INT64"], ["changed", "TIMESTAMP"]], "columns")
    expect([table.table_id for table in database.list_tables()] == ["counts"], "tables")


def mutations(database):
    with database.batch() as batch:
        batch.insert("counts", COLUMNS, [("a", 0, spanner.COMMIT_TIMESTAMP), ("b", 5, spanner.COMMIT_TIMESTAMP)])
        batch.insert_or_update("counts", ("k", "n"), [("c", 7)])
    with database.snapshot() as snapshot:
        (stored,) = snapshot.read("counts", ("changed",), KeySet(keys=[["a"]]))
        expect(stored[0] == batch.committed, f"{stored[0]} is not {batch.committed}")
    try:
        with database.batch() as batch:
            batch.insert("counts", ("k", "n"), [("a", 1)])
        raise AssertionError("inserted twice")
    except exceptions.AlreadyExists:
        pass


def reads(database):
    with database.snapshot(multi_use=True) as snapshot:
        one_range = KeySet(ranges=[KeyRange(start_closed=["a"], end_open=["c"])])
        expect([row[0] for row in snapshot.read("counts", ("k",), one_range)] == ["a", "b"], "a range")
        by_index = snapshot.read("counts", ("k", "n"), KeySet(all_=True), index="by_n", limit=2)
        expect([list(row) for row in by_index] == [["c", 7], ["b", 5]], "an index")


def transactions(database):
    """Each attempt of a read-write transaction increments the value that it read. Conflicting attempts are ABORTED."""

    def increment(transaction):
        (n,) = count(transaction)
        transaction.execute_update(
            "UPDATE counts SET n = @n, changed = PENDING_COMMIT_TIMESTAMP() WHERE k = 'a'",
            params={"n": n + 1},
            param_types={"n": spanner.param_types.INT64},
        )
        expect(count(transaction) == [n + 1], "it does not see its own DML")

    errors = []

    def work():
        try:
            database.run_in_transaction(increment)
        except Exception as error:  # reported by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not errors, errors)
    with database.snapshot() as snapshot:
        expect(count(snapshot) == [WORKERS], "increments were lost")


def rollback(database):
    class Enough(Exception):
        pass

    def fail(transaction):
        transaction.execute_update("DELETE FROM counts WHERE TRUE")
        raise Enough

    try:
        database.run_in_transaction(fail)
    except Enough:
        pass
    with database.snapshot() as snapshot:
        expect(count(snapshot) == [WORKERS], "the deletion stayed")


def staleness(database):
    with database.snapshot(multi_use=True) as before:
        expect(count(before) == [WORKERS], "before")

        def reset(transaction):
            transaction.update("counts", ("k", "n", "changed"), [("a", 1000, spanner.COMMIT_TIMESTAMP)])

        database.run_in_transaction(reset)
        expect(count(before) == [WORKERS], "a snapshot changed")
    with database.snapshot() as now:
        ((committed,),) = now.read("counts", ("changed",), KeySet(keys=[["a"]]))
    earlier = committed - datetime.timedelta(microseconds=1)
    with database.snapshot(read_timestamp=earlier) as then:
        expect(count(then) == [WORKERS], "an exact timestamp")
    with database.snapshot(max_staleness=datetime.timedelta(seconds=10)) as bounded:
        expect(count(bounded) in ([WORKERS], [1000]), "a bounded staleness")


def batches(database):
    def work(transaction):
        status, counts = transaction.batch_update(
            ["INSERT counts (k, n) VALUES ('x', 1), ('y', 2)", "UPDATE counts SET n = n + 1 WHERE k >= 'x'"]
        )
        expect((status.code, list(counts)) == (0, [2, 2]), (status, counts))

    database.run_in_transaction(work)
    with database.mutation_groups() as groups:
        for key in ("g1", "g2"):
            groups.group().insert_or_update("counts", ("k", "n"), [(key, 1)])
        codes = [response.status.code for response in groups.batch_write()]
    expect(codes and not any(codes), codes)
    deleted = database.execute_partitioned_dml("DELETE FROM counts WHERE k >= 'g'")
    expect(deleted == 4, f"partitioned DML deleted {deleted}")


def unimplemented(database):
    """The emulator refuses unsupported features of Spanner by name."""
    partitions = database.batch_snapshot()
    calls = [
        lambda: list(partitions.generate_query_batches("SELECT k FROM counts")),
        lambda: list(partitions.generate_read_batches("counts", ("k",), KeySet(all_=True))),
    ]
    for sql in ("SELECT k, COUNT(*) FROM counts GROUP BY k", "SELECT a.k FROM counts a JOIN counts b ON a.k = b.k"):
        calls.append(lambda sql=sql: query(database, sql))
    for call in calls:
        try:
            call()
            raise AssertionError("was answered")
        except exceptions.MethodNotImplemented:
            pass


def query(database, sql):
    with database.snapshot() as snapshot:
        return list(snapshot.execute_sql(sql))


CHECKS = (information_schema, mutations, reads, transactions, rollback, staleness, batches, unimplemented)


def main(project, instance, name):
    database = schema(spanner.Client(project=project).instance(instance), name)
    print("ok: schema")
    for check in CHECKS:
        try:
            check(database)
            print(f"ok: {check.__name__}")
        except Exception as error:
            print(f"failed: {check.__name__}: {type(error).__name__}: {error}")
    database.drop()


if __name__ == "__main__":
    os.environ.setdefault("SPANNER_DISABLE_BUILTIN_METRICS", "true")
    main(*sys.argv[1:])
