"""Make a month of green trips from another, laid out otherwise.

usage: make_month.py FROM TO MONTHS EVERY GROUP [COLUMN...]

Takes every EVERY-th row, 31 days later for each of MONTHS, in row groups of GROUP rows with small pages and a page index. COLUMNs are new doubles:
a quarter for each row in turn, and null in every fourth. Prints {"rows", "groups"}.
"""

import datetime
import json
import sys

import pyarrow
import pyarrow.compute
import pyarrow.parquet


def main():
    source, target, months, every, group, *columns = sys.argv[1:]
    table = pyarrow.parquet.read_table(source)
    table = table.take(list(range(0, table.num_rows, int(every))))
    later = pyarrow.scalar(datetime.timedelta(days=31 * int(months)), pyarrow.duration("us"))
    for name in ("lpep_pickup_datetime", "lpep_dropoff_datetime"):
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pyarrow.compute.add(table.column(name), later).cast(field.type))
    for name in columns:
        values = [None if row % 4 == 3 else 0.25 * (row % 4) for row in range(table.num_rows)]
        table = table.append_column(name, pyarrow.array(values, pyarrow.float64()))
    pyarrow.parquet.write_table(
        table, target, compression="zstd", row_group_size=int(group), write_page_index=True, data_page_size=4096
    )
    groups = pyarrow.parquet.ParquetFile(target).metadata.num_row_groups
    json.dump({"rows": table.num_rows, "groups": groups}, sys.stdout)


main()
