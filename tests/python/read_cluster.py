"""Read a table at each of its snapshots through the servers of a cluster, as JSON.

usage: read_cluster.py PROPERTIES TRINO NAMESPACE.TABLE FILE...

PROPERTIES are those of a PyIceberg catalog as JSON, TRINO the URL of a Trino that has the same catalog as `lake`, FILEs the source files that the
table should hold now.

{"now": {reader: seen}, "then": [{"snapshot", reader: seen}]}, where readers are pyiceberg, trino and duckdb, and for now also files: what DuckDB
computes straight from the source files. Seen are {"rows", "cents", "windows": {window: [rows, cents]}}; files have no windows.
"""

import json
import sys

import pyarrow
import pyarrow.compute
from pyiceberg.catalog import load_catalog

from cluster_duck import duck
from trino import ask

CENTS = "cast(round(total_amount * 100) as bigint)"


def seen(rows):
    """Of (window, rows, cents)."""
    windows = {str(window): [count, int(cents)] for window, count, cents in rows}
    return {
        "rows": sum(count for count, _ in windows.values()),
        "cents": sum(cents for _, cents in windows.values()),
        "windows": windows,
    }


def by_pyiceberg(table, snapshot):
    columns = table.scan(snapshot_id=snapshot, selected_fields=("_lakehost_window", "total_amount")).to_arrow()
    cents = pyarrow.compute.round(
        pyarrow.compute.multiply(columns.column("total_amount"), 100.0), round_mode="half_towards_infinity"
    ).cast("int64")
    grouped = pyarrow.table({"window": columns.column("_lakehost_window"), "cents": cents}).group_by("window")
    sums = grouped.aggregate([("cents", "sum"), ([], "count_all")])
    return seen(zip(*[sums.column(name).to_pylist() for name in ("window", "count_all", "cents_sum")]))


def main():
    properties, trino, name, *files = sys.argv[1:]
    properties = json.loads(properties)
    table = load_catalog("stack", **properties).load_table(name)
    connection = duck(properties)
    select = f"select _lakehost_window, count(*), sum({CENTS}) from"

    def at(snapshot):
        version = f"lake.{name} for version as of {snapshot}"
        scan = f"iceberg_scan('{table.metadata_location}', snapshot_from_id={snapshot})"
        return {
            "pyiceberg": by_pyiceberg(table, snapshot),
            "trino": seen(ask(trino, f"{select} {version} group by 1")),
            "duckdb": seen(connection.sql(f"{select} {scan} group by 1").fetchall()),
        }

    now = at(table.metadata.current_snapshot_id)
    now["trino without a version"] = seen(ask(trino, f"{select} lake.{name} group by 1"))
    count, cents = connection.execute(f"select count(*), sum({CENTS}) from read_parquet(?)", [files]).fetchone()
    now["files"] = {"rows": count, "cents": int(cents)}
    then = [{"snapshot": str(snapshot.snapshot_id)} | at(snapshot.snapshot_id) for snapshot in table.snapshots()]
    json.dump({"now": now, "then": then}, sys.stdout)


main()
