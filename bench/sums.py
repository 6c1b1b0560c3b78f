"""Reads a table with PyIceberg and prints, as JSON, its rows and a sum for each column: what two tables with the same rows share.

Usage: sums.py CATALOG_DB|PROPERTIES NAMESPACE.TABLE

CATALOG_DB is the file of a SQLite catalog; PROPERTIES are those of any other, as JSON. Names of columns are taken in lower case: some engines keep
no other.
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog


def main(place, name):
    if place.startswith("{"):
        catalog = load_catalog("lakehost", **json.loads(place))
    else:
        catalog = SqlCatalog("lakehost", uri=f"sqlite:///{place}", warehouse=f"file://{Path(place).parent}")
    print(json.dumps(sums_of(catalog.load_table(name).scan().to_arrow())))


def sums_of(rows):
    sums = {"rows": rows.num_rows}
    for name in rows.column_names:
        column, values = name.lower(), rows[name]
        if values.null_count == rows.num_rows:
            # A column that the table keeps for other months.
            continue
        sums[f"{column} nulls"] = values.null_count
        if pa.types.is_date(values.type):
            values = values.cast(pa.int32())
        elif pa.types.is_timestamp(values.type):
            # Seconds after a moment in 2023: microseconds since 1970 would leave a sum no room for the days.
            values = pc.subtract(pc.divide(values.cast(pa.int64()).cast(pa.float64()), 1e6), 1.7e9)
        elif pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = pc.binary_length(values)
        sums[column] = float(pc.sum(values).as_py() or 0)
    return sums


if __name__ == "__main__":
    main(*sys.argv[1:])
