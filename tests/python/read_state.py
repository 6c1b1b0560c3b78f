"""Say what a table is, as often as it is asked: its snapshots, and the rows and sums of the newest one, by PyIceberg.

usage: read_state.py PROPERTIES NAMESPACE.TABLE

Reads a line from stdin, and answers a line {"snapshots": [ids], "rows", "cents"} on stdout; null when there is no such table. PROPERTIES are those of a
PyIceberg catalog, as JSON.
"""

import json
import sys

import pyarrow.compute
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError


def state(properties, name):
    properties = dict(properties)
    try:
        table = load_catalog(properties.pop("name", "lakehost"), **properties).load_table(name)
    except NoSuchTableError:
        return None
    rows = table.scan().to_arrow()
    amounts = pyarrow.compute.multiply(rows.column("total_amount"), 100)
    cents = pyarrow.compute.sum(pyarrow.compute.round(amounts)).as_py()
    snapshots = sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.timestamp_ms)
    return {"snapshots": [str(snapshot.snapshot_id) for snapshot in snapshots], "rows": rows.num_rows, "cents": int(cents or 0)}


def main():
    properties, name = json.loads(sys.argv[1]), sys.argv[2]
    for _ in sys.stdin:
        print(json.dumps(state(properties, name)), flush=True)


main()
