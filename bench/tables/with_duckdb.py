"""Compaction by DuckDB: it writes the rows of all files into one, and PyIceberg puts that file in their place.

    with_duckdb.py compact WAREHOUSE
"""

import json
import sys
import time
import uuid
from urllib.parse import urlparse

import duckdb
import pyiceberg
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import AlwaysTrue


def main():
    verb, warehouse = sys.argv[1:]
    assert verb == "compact", verb
    catalog = SqlCatalog("lakehost", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
    table = catalog.load_table("raw.events")
    started = time.perf_counter()
    files = [urlparse(task.file.file_path).path for task in table.scan().plan_files()]
    target = f"{urlparse(table.location()).path}/data/{uuid.uuid4()}.parquet"
    connection = duckdb.connect()
    copy = f"copy (select * from read_parquet(?)) to '{target}' (format parquet, compression zstd)"
    rows = connection.execute(copy, [files]).fetchone()[0]
    with table.transaction() as transaction:
        transaction.delete(AlwaysTrue())
        transaction.add_files([target])
    said = {"rows": rows, "job_s": time.perf_counter() - started}
    said["versions"] = {"duckdb": duckdb.__version__, "pyiceberg": pyiceberg.__version__}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
