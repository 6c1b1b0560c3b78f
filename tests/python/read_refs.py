"""Read every branch and tag of a table with two independent readers, as JSON.

usage: read_refs.py WAREHOUSE|PROPERTIES NAMESPACE.TABLE

A WAREHOUSE is a folder with catalog.db in it; PROPERTIES are those of a PyIceberg catalog, as JSON.

{"fields": [[id, name, type]], "refs": {name: {"kind", "snapshot", "operation", "pyiceberg": [rows], "duckdb": [rows], "entries": [[status,
snapshot, sequence, rows]]}}}. Rows are lists of text, sorted; entries are those of all manifests of the snapshot, deleted files included.
"""

import json
import sys

import duckdb
import duckdb_extensions
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NotInstalledError


def texts(rows):
    return sorted([["" if value is None else str(value) for value in row] for row in rows])


def properties_of(place):
    if place.startswith("{"):
        return json.loads(place)
    return {"name": "lakehost", "type": "sql", "uri": f"sqlite:///{place}/catalog.db", "warehouse": place}


def reach_bucket(connection, properties):
    duckdb_extensions.import_extension("httpfs", con=connection)
    connection.load_extension("httpfs")
    scheme, host = properties["s3.endpoint"].split("://")
    connection.execute(
        f"""create secret (type s3, key_id '{properties["s3.access-key-id"]}', secret '{properties["s3.secret-access-key"]}',
            endpoint '{host}', region '{properties["s3.region"]}', url_style 'path', use_ssl {"true" if scheme == "https" else "false"})"""
    )


def main():
    place, name = sys.argv[1:3]
    properties = properties_of(place)
    try:
        catalog = load_catalog(properties.pop("name"), **properties)
    except (ModuleNotFoundError, NotInstalledError) as missing:
        json.dump({"skipped": str(missing)}, sys.stdout)
        return
    table = catalog.load_table(name)
    connection = duckdb.connect()
    if "s3.endpoint" in properties:
        reach_bucket(connection, properties)
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
