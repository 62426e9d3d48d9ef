// Command check drives a Spanner server with Google's Go client: the statements of flowerinthenight/spindle and
// hedge as those libraries send them, and other calls of the client that a server can answer wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"cloud.google.com/go/spanner"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
)

type check struct {
	name string
	run  func(context.Context, *spanner.Client) error
}

var checks = []check{
	{"spindle: first insert, read, heartbeat", spindleLock},
	{"spindle: take-over with a token", spindleTakeOver},
	{"hedge: put, latest, history", hedgeLog},
	{"hedge: semaphore entries", hedgeSemaphore},
	{"inserting twice is AlreadyExists", alreadyExists},
	{"concurrent increments are serializable", increments},
	{"stale and snapshot reads", snapshots},
	{"reads by key, range and index", reads},
	{"batch DML and partitioned DML", batches},
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := spanner.NewClient(ctx, os.Args[1])
	if err != nil {
		fmt.Println("cannot connect:", err)
		os.Exit(1)
	}
	defer client.Close()
	failed := 0
	for _, c := range checks {
		if err := c.run(ctx, client); err != nil {
			fmt.Printf("failed: %v: %v\n", c.name, err)
			failed++
			continue
		}
		fmt.Printf("ok: %v\n", c.name)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func update(ctx context.Context, client *spanner.Client, sql string, params map[string]any) (time.Time, error) {
	return client.ReadWriteTransaction(ctx, func(ctx context.Context, txn *spanner.ReadWriteTransaction) error {
		_, err := txn.Update(ctx, spanner.Statement{SQL: sql, Params: params})
		return err
	})
}

func rows(iter *spanner.RowIterator, each func(*spanner.Row) error) error {
	defer iter.Stop()
	for {
		row, err := iter.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func spindleLock(ctx context.Context, client *spanner.Client) error {
	at, err := update(ctx, client, "insert locktable (name, heartbeat, token, writer) values ('lock',"+
		"PENDING_COMMIT_TIMESTAMP(),PENDING_COMMIT_TIMESTAMP(),'me')", nil)
	if err != nil {
		return err
	}
	diff, token, err := readLock(ctx, client)
	if err != nil {
		return err
	}
	if err := expect(token.Equal(at), "token %v is not the commit timestamp %v", token, at); err != nil {
		return err
	}
	if err := expect(diff >= 0 && diff < 10_000, "heartbeat is %v ms old", diff); err != nil {
		return err
	}
	_, err = update(ctx, client, "update locktable set heartbeat = PENDING_COMMIT_TIMESTAMP() where name = @name",
		map[string]any{"name": "lock"})
	return err
}

func readLock(ctx context.Context, client *spanner.Client) (diff int64, token time.Time, err error) {
	stmt := spanner.Statement{
		SQL: "select timestamp_diff(current_timestamp(), heartbeat, millisecond) as diff, token " +
			"from locktable where name = @name",
		Params: map[string]any{"name": "lock"},
	}
	type lock struct {
		Diff  spanner.NullInt64
		Token spanner.NullTime
	}
	err = rows(client.Single().Query(ctx, stmt), func(row *spanner.Row) error {
		var v lock
		if err := row.ToStruct(&v); err != nil {
			return err
		}
		diff, token = v.Diff.Int64, v.Token.Time
		return nil
	})
	return diff, token, err
}

func spindleTakeOver(ctx context.Context, client *spanner.Client) error {
	at, err := update(ctx, client, "insert locktable (name) values ('lock_next')", nil)
	if err != nil {
		return err
	}
	_, err = update(ctx, client, "update locktable set heartbeat = PENDING_COMMIT_TIMESTAMP(), token = @token, "+
		"writer = @writer where name = @name", map[string]any{"name": "lock", "token": at, "writer": "you"})
	if err != nil {
		return err
	}
	if _, token, err := readLock(ctx, client); err != nil || !token.Equal(at) {
		return fmt.Errorf("token %v, not %v: %w", token, at, err)
	}
	_, err = update(ctx, client, "delete from locktable where starts_with(name, 'lock_')", nil)
	return err
}

func hedgeLog(ctx context.Context, client *spanner.Client) error {
	for _, value := range []string{"one", "two", "three"} {
		_, err := client.Apply(ctx, []*spanner.Mutation{
			spanner.InsertOrUpdate("logtable", []string{"id", "key", "value", "leader", "timestamp"},
				[]any{value, "k", value, "me", spanner.CommitTimestamp}),
		})
		if err != nil {
			return err
		}
	}
	for limit, want := range map[string]string{" desc limit 1": "[three]", " desc": "[three two one]", " limit 1": "[one]"} {
		var got []string
		stmt := spanner.Statement{
			SQL: "select key, value, timestamp from logtable where key = @key and timestamp is not null " +
				"order by timestamp" + limit,
			Params: map[string]any{"key": "k"},
		}
		err := rows(client.Single().Query(ctx, stmt), func(row *spanner.Row) error {
			var v struct {
				Key       string
				Value     string
				Timestamp time.Time
			}
			err := row.ToStruct(&v)
			got = append(got, v.Value)
			return err
		})
		if err != nil {
			return err
		}
		if err := expect(fmt.Sprint(got) == want, "order by timestamp%v gave %v", limit, got); err != nil {
			return err
		}
	}
	return nil
}

func hedgeSemaphore(ctx context.Context, client *spanner.Client) error {
	count := func(ctx context.Context, txn *spanner.ReadWriteTransaction) (n int64, err error) {
		stmt := spanner.Statement{SQL: "select count(id) id from logtable where id = @id", Params: map[string]any{"id": "sem"}}
		err = rows(txn.Query(ctx, stmt), func(row *spanner.Row) error { return row.Columns(&n) })
		return n, err
	}
	_, err := client.ReadWriteTransaction(ctx, func(ctx context.Context, txn *spanner.ReadWriteTransaction) error {
		if n, err := count(ctx, txn); err != nil || n != 0 {
			return fmt.Errorf("%v entries at first: %w", n, err)
		}
		insert := "insert logtable(key, id, value, leader, timestamp) values ('__caller=me','sem','me','me'," +
			"PENDING_COMMIT_TIMESTAMP())"
		if _, err := txn.Update(ctx, spanner.Statement{SQL: insert}); err != nil {
			return err
		}
		if n, err := count(ctx, txn); err != nil || n != 1 {
			return fmt.Errorf("%v entries after an insert: %w", n, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = update(ctx, client, "delete from logtable where key in ('__caller=me','__caller=you')", nil)
	return err
}

func alreadyExists(ctx context.Context, client *spanner.Client) error {
	insert := []*spanner.Mutation{spanner.InsertMap("types", map[string]any{"k": 1, "n": 0})}
	if _, err := client.Apply(ctx, insert); err != nil {
		return err
	}
	_, err := client.Apply(ctx, insert)
	return expect(spanner.ErrCode(err) == codes.AlreadyExists, "got %v", err)
}

func increments(ctx context.Context, client *spanner.Client) error {
	const workers = 8
	var group sync.WaitGroup
	failures := make(chan error, workers)
	for range workers {
		group.Add(1)
		go func() {
			defer group.Done()
			_, err := client.ReadWriteTransaction(ctx, func(ctx context.Context, txn *spanner.ReadWriteTransaction) error {
				row, err := txn.ReadRow(ctx, "types", spanner.Key{1}, []string{"n"})
				if err != nil {
					return err
				}
				var n int64
				if err := row.Columns(&n); err != nil {
					return err
				}
				return txn.BufferWrite([]*spanner.Mutation{spanner.UpdateMap("types", map[string]any{"k": 1, "n": n + 1})})
			})
			if err != nil {
				failures <- err
			}
		}()
	}
	group.Wait()
	close(failures)
	if err := <-failures; err != nil {
		return err
	}
	var n int64
	row, err := client.Single().ReadRow(ctx, "types", spanner.Key{1}, []string{"n"})
	if err != nil {
		return err
	}
	if err := row.Columns(&n); err != nil {
		return err
	}
	return expect(n == workers, "%v increments of %v counted", n, workers)
}

func snapshots(ctx context.Context, client *spanner.Client) error {
	before := client.ReadOnlyTransaction()
	defer before.Close()
	value := func(txn *spanner.ReadOnlyTransaction) (n int64, err error) {
		row, err := txn.ReadRow(ctx, "types", spanner.Key{1}, []string{"n"})
		if err != nil {
			return 0, err
		}
		return n, row.Columns(&n)
	}
	first, err := value(before)
	if err != nil {
		return err
	}
	at, err := update(ctx, client, "update types set n = 1000 where k = 1", nil)
	if err != nil {
		return err
	}
	if again, err := value(before); err != nil || again != first {
		return fmt.Errorf("a snapshot showed %v and then %v: %w", first, again, err)
	}
	exact, err := value(client.Single().WithTimestampBound(spanner.ReadTimestamp(at.Add(-time.Microsecond))))
	if err != nil || exact != first {
		return fmt.Errorf("just before the commit there was %v: %w", exact, err)
	}
	stale, err := value(client.Single().WithTimestampBound(spanner.MaxStaleness(time.Nanosecond)))
	return errors.Join(err, expect(stale == 1000, "a read of bounded staleness gave %v", stale))
}

func reads(ctx context.Context, client *spanner.Client) error {
	columns := []string{"key", "id"}
	for _, set := range []spanner.KeySet{
		spanner.AllKeys(),
		spanner.Key{"k"}.AsPrefix(),
		spanner.KeyRange{Start: spanner.Key{"k", "a"}, End: spanner.Key{"k", "z"}, Kind: spanner.ClosedOpen},
		spanner.KeySetFromKeys(spanner.Key{"k", "one"}, spanner.Key{"k", "two"}, spanner.Key{"k", "three"}),
	} {
		n := 0
		if err := rows(client.Single().Read(ctx, "logtable", set, columns), func(*spanner.Row) error { n++; return nil }); err != nil {
			return err
		}
		if err := expect(n == 3, "%v rows for %v", n, set); err != nil {
			return err
		}
	}
	n := 0
	iter := client.Single().ReadUsingIndex(ctx, "logtable", "by_value", spanner.Key{"two"}, []string{"value", "id"})
	err := rows(iter, func(*spanner.Row) error { n++; return nil })
	return errors.Join(err, expect(n == 1, "%v rows by index", n))
}

func batches(ctx context.Context, client *spanner.Client) error {
	_, err := client.ReadWriteTransaction(ctx, func(ctx context.Context, txn *spanner.ReadWriteTransaction) error {
		counts, err := txn.BatchUpdate(ctx, []spanner.Statement{
			{SQL: "insert types (k, n) values (10, 1), (11, 1)"},
			{SQL: "update types set n = n + 1 where k >= 10"},
		})
		if err != nil {
			return err
		}
		return expect(fmt.Sprint(counts) == "[2 2]", "counts %v", counts)
	})
	if err != nil {
		return err
	}
	count, err := client.PartitionedUpdate(ctx, spanner.Statement{SQL: "delete from types where k >= 10"})
	return errors.Join(err, expect(count == 2, "partitioned count %v", count))
}
