"""What PyIceberg does to the tables of `cargo xtask bench tables`: one verb a process, one JSON object on standard output.

    with_pyiceberg.py compact WAREHOUSE          all rows read, and written back in one overwrite
    with_pyiceberg.py merge   WAREHOUSE PARQUET  Table.upsert by `id`
    with_pyiceberg.py expire  WAREHOUSE          all snapshots but the newest; it deletes no file
    with_pyiceberg.py sums    WAREHOUSE          rows, files and column sums, to see that all did the same
"""

import datetime
import json
import sys
import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyiceberg
from pyiceberg.catalog.sql import SqlCatalog

TABLE = "raw.events"


def load(warehouse):
    catalog = SqlCatalog("lakehost", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
    return catalog.load_table(TABLE)


def compact(table):
    rows = table.scan().to_arrow()
    table.overwrite(rows)
    return {"rows": rows.num_rows}


def merge(table, file):
    # The columns as the table has them: a required id, and text that is not "large".
    rows = pq.read_table(file).cast(table.schema().as_arrow())
    done = table.upsert(rows, join_cols=["id"])
    return {"updated": done.rows_updated, "inserted": done.rows_inserted}


def expire(table):
    before = len(table.metadata.snapshots)
    table.maintenance.expire_snapshots().older_than(datetime.datetime.now() + datetime.timedelta(minutes=1)).commit()
    table.refresh()
    return {"expired": before - len(table.metadata.snapshots)}


def sums(table):
    files = [task.file for task in table.scan().plan_files()]
    rows = ids = 0
    amount = 0.0
    changed = 0
    for batch in table.scan(selected_fields=("id", "name", "amount")).to_arrow_batch_reader():
        rows += batch.num_rows
        ids += pc.sum(batch["id"]).as_py() or 0
        amount += pc.sum(batch["amount"]).as_py() or 0.0
        changed += pc.sum(pc.starts_with(batch["name"], "changed")).as_py() or 0
    return {
        "rows": rows,
        "sum_id": ids,
        "sum_amount": round(amount, 2),
        "changed": changed,
        "files": len(files),
        "bytes": sum(file.file_size_in_bytes for file in files),
        "snapshots": len(table.metadata.snapshots),
    }


def main():
    verb, warehouse, *rest = sys.argv[1:]
    table = load(warehouse)
    started = time.perf_counter()
    said = {"compact": compact, "merge": merge, "expire": expire, "sums": sums}[verb](table, *rest)
    said["job_s"] = time.perf_counter() - started
    said["versions"] = {"pyiceberg": pyiceberg.__version__, "pyarrow": pa.__version__}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
