"""The months by PyIceberg into a bucket through a REST catalog: pyarrow reads and cleans each in memory, and its rows take the place of the window's.

    with_pyiceberg.py --url URL --months 2024-01,2024-02 --out FOLDER --catalog PROPERTIES --table NAMESPACE.TABLE

A window is replaced in one commit: the files of its partition are dropped and the new ones added (`Table.overwrite`). The table is made when it is not
there. Prints counts, as the peers of the other bench do.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pyiceberg
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import EqualTo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))
import common  # noqa: E402
from with_pyiceberg import clean  # noqa: E402


def table_of(catalog, name, schema):
    try:
        return catalog.load_table(name)
    except NoSuchTableError:
        catalog.create_namespace_if_not_exists(name.split(".")[0])
        table = catalog.create_table(name, schema, properties={"write.parquet.compression-codec": "zstd"})
        with table.update_spec() as update:
            update.add_identity(common.WINDOW)
        return catalog.load_table(name)


def main():
    parser = argparse.ArgumentParser()
    for flag in ("--url", "--months", "--out", "--catalog", "--table"):
        parser.add_argument(flag, required=True)
    arguments = parser.parse_args()
    started, user = time.perf_counter(), common.user_seconds()
    catalog = load_catalog("lakehost", **json.loads(arguments.catalog))
    read = written = 0
    rejected = {}
    for month in arguments.months.split(","):
        job = common.Job(SimpleNamespace(url=arguments.url, out=arguments.out, layout="window", month=month))
        rows = pq.read_table(job.download())
        read += rows.num_rows
        kept = clean(job, rows)
        del rows
        written += kept.num_rows
        for rule, count in job.rejected.items():
            rejected[rule] = rejected.get(rule, 0) + count
        table_of(catalog, arguments.table, kept.schema).overwrite(kept, overwrite_filter=EqualTo(common.WINDOW, str(job.window)))
        del kept
    report = {
        "rows_read": read,
        "rows_written": written,
        "rows_rejected": {rule: count for rule, count in rejected.items() if count},
        "job": {"wall_s": time.perf_counter() - started, "user_s": common.user_seconds() - user},
        "versions": {"pyiceberg": pyiceberg.__version__, "pyarrow": pa.__version__},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
