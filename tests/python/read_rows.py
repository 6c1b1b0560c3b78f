"""Read the rows of a table with two independent readers, which must see the same ones.

usage: read_rows.py WAREHOUSE NAMESPACE.TABLE COLUMN...

Prints the rows as a sorted list of lists. Times are microseconds since 1970.
"""

import json
import sys

import duckdb
import duckdb_extensions
from pyiceberg.catalog.sql import SqlCatalog


def rows(connection, relation, columns):
    kinds = connection.sql(f"select * from {relation} limit 0")
    kinds = dict(zip(kinds.columns, map(str, kinds.types)))
    parts = [f'epoch_us("{c}")' if kinds[c].startswith("TIMESTAMP") else f'"{c}"' for c in columns]
    return [list(row) for row in connection.sql(f"select {', '.join(parts)} from {relation} order by all").fetchall()]


def main():
    warehouse, name, *columns = sys.argv[1:]
    catalog = SqlCatalog("lakehost", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=warehouse)
    iceberg = catalog.load_table(name)
    connection = duckdb.connect()
    connection.sql("set timezone = 'UTC'")
    for extension in ("avro", "iceberg"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.load_extension(extension)
    connection.register("from_pyiceberg", iceberg.scan().to_arrow())
    location = iceberg.metadata_location.removeprefix("file://")
    connection.sql(f"create view from_duckdb as select * from iceberg_scan('{location}')")
    seen = rows(connection, "from_pyiceberg", columns)
    also = rows(connection, "from_duckdb", columns)
    assert seen == also, f"PyIceberg sees {len(seen)} rows, DuckDB {len(also)}, and they differ"
    json.dump(seen, sys.stdout)


main()
