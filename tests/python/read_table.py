"""Read a table with two independent readers and describe what they see, as JSON.

usage: read_table.py WAREHOUSE NAMESPACE.TABLE
       read_table.py --file FILE [--clean pickup dropoff FROM TO]

Each description is {"rows": n, "columns": {name: [non-null, sum]}, "windows": {window: rows}}. Sums are over numbers, over microseconds since
1970 for times, over lengths for text. With --clean the five rules of trip_cleaner run in DuckDB's SQL over the file, and "rejected" counts them.
"""

import json
import math
import sys

import duckdb


def describe(connection, relation):
    columns = {}
    types = connection.sql(f"select * from {relation} limit 0")
    parts = []
    for name, kind in zip(types.columns, types.types):
        kind = str(kind)
        quoted = '"' + name + '"'
        if kind.startswith("TIMESTAMP"):
            value = f"epoch_us({quoted}::timestamp)::hugeint"
        elif kind == "DATE":
            value = f"date_diff('day', date '1970-01-01', {quoted})::hugeint"
        elif kind == "VARCHAR":
            value = f"length({quoted})::hugeint"
        else:
            # fsum-like: exact to the last bits whatever the order of rows
            value = f"round({quoted} * 100)::hugeint"
        parts.append((name, f"count({quoted})", f"sum({value})"))
    row = connection.sql("select count(*), " + ", ".join(f"{c}, {s}" for _, c, s in parts) + f" from {relation}").fetchone()
    for index, (name, _, _) in enumerate(parts):
        total = row[2 + 2 * index]
        columns[name] = [row[1 + 2 * index], None if total is None else str(int(total))]
    return {"rows": row[0], "columns": columns}


def windows(connection, relation):
    rows = connection.sql(f"select _lakehost_window::varchar, count(*) from {relation} group by 1 order by 1").fetchall()
    return dict(rows)


def table(warehouse, name):
    import duckdb_extensions
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("lakehost", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=warehouse)
    iceberg = catalog.load_table(name)
    connection = duckdb.connect()
    for extension in ("avro", "iceberg"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.load_extension(extension)
    answer = {"snapshots": len(iceberg.metadata.snapshots), "properties": dict(iceberg.properties)}
    arrow = iceberg.scan().to_arrow()
    connection.register("from_pyiceberg", arrow)
    answer["pyiceberg"] = describe(connection, "from_pyiceberg")
    answer["pyiceberg"]["windows"] = windows(connection, "from_pyiceberg")
    location = iceberg.metadata_location.removeprefix("file://")
    connection.sql(f"create view from_duckdb as select * from iceberg_scan('{location}')")
    answer["duckdb"] = describe(connection, "from_duckdb")
    answer["duckdb"]["windows"] = windows(connection, "from_duckdb")
    current = iceberg.current_snapshot()
    answer["summary"] = dict(current.summary.additional_properties) if current else {}
    answer["operation"] = current.summary.operation.value if current else None
    files = iceberg.inspect.files().to_pylist() if current else []
    answer["files"] = [
        {
            "path": file["file_path"],
            "rows": file["record_count"],
            "bytes": file["file_size_in_bytes"],
            "nulls": sum(v for _, v in file["null_value_counts"]) if file["null_value_counts"] else 0,
            "bounds": len(file["lower_bounds"] or []),
        }
        for file in files
    ]
    field_ids = [(field.field_id, field.name, str(field.field_type)) for field in iceberg.schema().fields]
    answer["fields"] = field_ids
    return answer


def file(path, clean):
    connection = duckdb.connect()
    connection.sql(f"create view source as select * from read_parquet('{path}')")
    if not clean:
        return describe(connection, "source")
    pickup, dropoff, start, end = clean
    connection.sql(
        f"""create table judged as select *, case
              when {pickup} is null or {dropoff} is null or trip_distance is null or fare_amount is null or total_amount is null
                then 'null_required'
              when {pickup} < timestamp '{start}' or {pickup} >= timestamp '{end}' then 'pickup_out_of_month'
              when {dropoff} <= {pickup} then 'dropoff_not_after_pickup'
              when not (trip_distance > 0 and trip_distance < 200) then 'distance_out_of_range'
              when fare_amount < 0 or total_amount < 0 then 'negative_amount' end as rule
            from source"""
    )
    connection.sql(
        f"""create view cleaned as select * exclude (rule),
              (epoch_us({dropoff}) - epoch_us({pickup}))::double / 6e7 as trip_minutes,
              trip_distance / (((epoch_us({dropoff}) - epoch_us({pickup}))::double / 6e7) / 60) as avg_mph
            from judged where rule is null"""
    )
    answer = describe(connection, "cleaned")
    answer["rejected"] = dict(connection.sql("select rule, count(*) from judged where rule is not null group by 1").fetchall())
    answer["read"] = connection.sql("select count(*) from source").fetchone()[0]
    return answer


def main():
    if sys.argv[1] == "--file":
        answer = file(sys.argv[2], sys.argv[4:8] if len(sys.argv) > 3 else None)
    else:
        answer = table(sys.argv[1], sys.argv[2])
    assert all(not isinstance(v, float) or math.isfinite(v) for v in answer.values())
    json.dump(answer, sys.stdout)


main()
