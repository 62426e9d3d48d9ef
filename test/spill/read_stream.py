"""Reads an Arrow IPC stream from stdin, as any Arrow tool may, and prints what is in it as JSON."""

import hashlib
import json
import sys

import pyarrow as pa

digest = hashlib.sha256()
records = 0
with pa.ipc.open_stream(sys.stdin.buffer) as reader:
    schema = str(reader.schema)
    for batch in reader:
        batch.validate(full=True)
        for record in batch.column("record"):
            digest.update(record.as_py())
            records += 1
print(json.dumps({"schema": schema, "records": records, "sha256": digest.hexdigest()}))
