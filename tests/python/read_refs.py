"""Read every branch and tag of a table with two independent readers, as JSON.

usage: read_refs.py WAREHOUSE|PROPERTIES NAMESPACE.TABLE

A WAREHOUSE is a folder with catalog.db in it; PROPERTIES are those of a PyIceberg catalog, as JSON.

{"fields": [[id, name, type]], "refs": {name: {"kind", "snapshot", "operation", "pyiceberg": [rows], "duckdb": [rows], "entries": [[status,
snapshot, sequence, rows]], "problems", "audited"}}}. Rows are lists of text, sorted; entries are those of all manifests of the snapshot, deleted
files included. Problems are sentences on where data files, what manifests say of them (size, rows, field ids, counts, bounds) and the counters of the
summary differ; audited is the number of live files.
"""

import datetime
import json
import sys

import duckdb
import duckdb_extensions
import pyarrow.parquet
from pyiceberg.catalog import load_catalog
from pyiceberg.conversions import from_bytes


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


def text_of(value):
    return value.decode() if isinstance(value, bytes) else value


def micros(value):
    """Dates and times as the numbers that bounds hold."""
    if isinstance(value, datetime.datetime):
        return (value.replace(tzinfo=None) - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return (value - datetime.date(1970, 1, 1)).days
    return value


def audit_file(table, file, problems):
    """What the manifest says of a data file against the file itself."""
    said = file.file_path
    source = table.io.new_input(said)
    if len(source) != file.file_size_in_bytes:
        problems.append(f"{said}: {len(source)} bytes, the manifest says {file.file_size_in_bytes}")
    with source.open() as stream:
        parquet = pyarrow.parquet.ParquetFile(stream)
        data = parquet.read()
        fields = parquet.schema_arrow
    if data.num_rows != file.record_count:
        problems.append(f"{said}: {data.num_rows} rows, the manifest says {file.record_count}")
    columns = {field.field_id: field for field in table.schema().fields}
    for field in fields:
        number = int((field.metadata or {}).get(b"PARQUET:field_id", b"-1"))
        if number not in columns or columns[number].name != field.name:
            problems.append(f"{said}: column {field.name} has field id {number}")
            continue
        values = [micros(value) for value in data.column(field.name).to_pylist()]
        present = [value for value in values if value is not None]
        counted = (file.value_counts or {}).get(number), (file.null_value_counts or {}).get(number)
        if counted != (len(values), len(values) - len(present)):
            problems.append(f"{said}: {field.name} has {counted} values and nulls, it is {len(values)}, {len(values) - len(present)}")
        for which, bounds, wanted in (("lower", file.lower_bounds, min), ("upper", file.upper_bounds, max)):
            if number not in (bounds or {}):
                if present:
                    problems.append(f"{said}: {field.name} has no {which} bound")
                continue
            bound = micros(text_of(from_bytes(columns[number].field_type, bounds[number])))
            if bound != wanted(present):
                problems.append(f"{said}: {field.name} has the {which} bound {bound}, it is {wanted(present)}")


def audit(table, snapshot, audited):
    """Where files, entries and counters of a snapshot do not say the same. `audited`: files that were looked at before."""
    problems = []
    live, added, deleted = [], [], []
    for manifest in snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
            ours = entry.snapshot_id == snapshot.snapshot_id
            if int(entry.status) != 2:
                live.append(entry.data_file)
            if ours and int(entry.status) != 0:
                (deleted if int(entry.status) == 2 else added).append(entry.data_file)
    for file in live:
        if file.file_path not in audited:
            audited.add(file.file_path)
            audit_file(table, file, problems)
    said = snapshot.summary.additional_properties
    sums = {
        "total-data-files": len(live),
        "total-records": sum(file.record_count for file in live),
        "total-files-size": sum(file.file_size_in_bytes for file in live),
        "added-data-files": len(added),
        "added-records": sum(file.record_count for file in added),
        "added-files-size": sum(file.file_size_in_bytes for file in added),
        "deleted-data-files": len(deleted),
        "deleted-records": sum(file.record_count for file in deleted),
        "removed-files-size": sum(file.file_size_in_bytes for file in deleted),
    }
    for name, count in sums.items():
        if int(said.get(name) or 0) != count:
            problems.append(f"{name} is {said.get(name)}, the manifests have {count}")
    return problems, len(live)


def main():
    place, name = sys.argv[1:3]
    properties = properties_of(place)
    catalog = load_catalog(properties.pop("name"), **properties)
    table = catalog.load_table(name)
    connection = duckdb.connect()
    if "s3.endpoint" in properties:
        reach_bucket(connection, properties)
    for extension in ("avro", "iceberg"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.load_extension(extension)
    location = table.metadata_location.removeprefix("file://")
    audited = set()
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
        problems, looked_at = audit(table, snapshot, audited)
        answer["refs"][reference] |= {"problems": problems, "audited": looked_at}
    json.dump(answer, sys.stdout)


main()
