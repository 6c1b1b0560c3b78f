"""Whether the rows of each data file of a table are in an order, read by pyarrow file by file; nulls come last.

usage: file_order.py WAREHOUSE NAMESPACE.TABLE COLUMN|-COLUMN...

Prints a list of {"rows": n, "in_order": bool, "sort_order_id": id or null}.
"""

import json
import sys

import pyarrow.parquet
from pyiceberg.catalog.sql import SqlCatalog


class Descending:
    def __init__(self, value):
        self.value = value

    def __le__(self, other):
        return other.value <= self.value

    def __eq__(self, other):
        return other.value == self.value


def keys(path, columns):
    names = [column.removeprefix("-") for column in columns]
    table = pyarrow.parquet.ParquetFile(path).read(columns=names)
    values = [table.column(name).to_pylist() for name in names]
    for row in zip(*values):
        yield [(v is None, Descending(v) if c.startswith("-") else v) for c, v in zip(columns, row)]


def before(left, right):
    for (left_null, left_value), (right_null, right_value) in zip(left, right):
        if left_null != right_null:
            return right_null
        if not left_null and left_value != right_value:
            return left_value <= right_value
    return True


def main():
    warehouse, name, *columns = sys.argv[1:]
    table = SqlCatalog("lakehost", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=warehouse).load_table(name)
    answer = []
    for file in table.inspect.files().to_pylist():
        found = list(keys(file["file_path"].removeprefix("file://"), columns))
        in_order = all(before(a, b) for a, b in zip(found, found[1:]))
        answer.append({"rows": len(found), "in_order": in_order, "sort_order_id": file["sort_order_id"]})
    json.dump(answer, sys.stdout)


main()
