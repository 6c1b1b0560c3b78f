"""Read every branch and tag of a table with two independent readers, as JSON.

usage: read_refs.py WAREHOUSE NAMESPACE.TABLE

{"fields": [[id, name, type]], "refs": {name: {"kind", "snapshot", "operation", "pyiceberg": [rows], "duckdb": [rows], "entries": [[status,
snapshot, sequence, rows]]}}}. Rows are lists of text, sorted; entries are those of all manifests of the snapshot, deleted files included.
"""

import json
import sys

import duckdb
import duckdb_extensions
from pyiceberg.catalog.sql import SqlCatalog


def texts(rows):
    return sorted([["" if value is None else str(value) for value in row] for row in rows])


def main():
    warehouse, name = sys.argv[1:3]
    catalog = SqlCatalog("lakehost", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=warehouse)
    table = catalog.load_table(name)
    connection = duckdb.connect()
    for extension in ("avro", "iceberg"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.load_extension(extension)
    location = table.metadata_location.removeprefix("file://")
    answer = {"fields": [(field.field_id, field.name, str(field.field_type)) for field in table.schema().fields], "refs": {}}
    for reference, ref in sorted(table.metadata.refs.items()):
        snapshot = table.snapshot_by_id(ref.snapshot_id)
        current = table.metadata.current_snapshot_id == ref.snapshot_id
        arrow = (table.scan() if current else table.scan(snapshot_id=ref.snapshot_id)).to_arrow()
        scanned = connection.sql(f"select * from iceberg_scan('{location}', snapshot_from_id={ref.snapshot_id})")
        rows = [scanned.columns.index(column) for column in arrow.column_names if column in scanned.columns]
        entries = []
        for manifest in snapshot.manifests(table.io):
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                entries.append([int(entry.status), entry.snapshot_id, entry.sequence_number, entry.data_file.record_count])
        answer["refs"][reference] = {
            "kind": ref.snapshot_ref_type.value,
            "snapshot": ref.snapshot_id,
            "operation": snapshot.summary.operation.value,
            "pyiceberg": texts(zip(*[arrow.column(column).to_pylist() for column in arrow.column_names])),
            "duckdb": texts([[row[index] for index in rows] for row in scanned.fetchall()]),
            "entries": sorted(entries),
        }
    json.dump(answer, sys.stdout)


main()
