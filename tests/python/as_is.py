"""Ask a table of a cluster the same by several readers, and look how much each had to read, as JSON.

usage: as_is.py JOB

JOB is {"catalog": properties for PyIceberg, "trino": URL, "table": NAMESPACE.TABLE, "files": {window: source file}, "queries": {name: sql},
"pruned": {name: {"where", "filter"}}}: a statement says {t} for the table; `where` is SQL, `filter` the same in PyIceberg's words.

{"queries": {name: {reader: rows}}, "pruned": {name: {"pyiceberg": [files, rows], "duckdb": [files, rows], "trino": [rows read, rows], "explain": text,
"files": rows}}, "stored": [{"path", "groups", "page_index", "codecs", "created_by"}]}, where readers are files (DuckDB on the source files alone),
pyiceberg, duckdb and trino, and rows are sorted lists of texts. `stored` are the table's own data files.
"""

import json
import re
import sys

import pyarrow.parquet
from pyiceberg.catalog import load_catalog

from cluster_duck import duck
from trino import ask


def texts(rows):
    return sorted(([None if value is None else str(value) for value in row] for row in rows), key=str)


def of_files(connection, files):
    """The table as it should be: a row of a file and the file's window."""
    parts = [f"select *, date '{window}' as _lakehost_window from read_parquet('{path}')" for window, path in files.items()]
    connection.execute("create view of_files as " + " union all by name ".join(parts))
    return "of_files"


def files_read(connection, statement):
    """Of a DuckDB scan; one that finds nothing to read has no such line."""
    plan = connection.execute(f"explain analyze {statement}").fetchall()[0][1]
    found = re.search(r"Total Files Read: (\d+)", plan)
    return int(found.group(1)) if found else 0


def rows_read(trino, statement):
    """Of a Trino scan, and the scan's plan; one that finds nothing to read has no input."""
    [[plan]] = ask(trino, f"explain analyze {statement}")
    scan = plan[plan.find("TableScan[") if "TableScan[" in plan else plan.find("Scan") :]
    found = re.search(r"Input: ([\d,]+) rows?", scan)
    return int(found.group(1).replace(",", "")) if found else 0


def stored(table):
    answer = []
    for task in table.scan().plan_files():
        with table.io.new_input(task.file.file_path).open() as file:
            metadata = pyarrow.parquet.ParquetFile(file).metadata
        chunks = [metadata.row_group(group).column(0) for group in range(metadata.num_row_groups)]
        answer.append(
            {
                "path": task.file.file_path,
                "groups": metadata.num_row_groups,
                "page_index": all(chunk.has_column_index and chunk.has_offset_index for chunk in chunks),
                "codecs": sorted({chunk.compression for chunk in chunks}),
                "created_by": metadata.created_by,
            }
        )
    return sorted(answer, key=lambda file: file["path"])


def main():
    job = json.loads(sys.argv[1])
    table = load_catalog("stack", **job["catalog"]).load_table(job["table"])
    connection = duck(job["catalog"])
    connection.register("of_pyiceberg", table.scan().to_arrow())
    names = {"files": of_files(connection, job["files"]), "pyiceberg": "of_pyiceberg", "duckdb": f"iceberg_scan('{table.metadata_location}')"}
    in_trino = f"lake.{job['table']}"
    answer = {"queries": {}, "pruned": {}, "stored": stored(table)}
    for name, sql in job["queries"].items():
        seen = {reader: texts(connection.execute(sql.replace("{t}", relation)).fetchall()) for reader, relation in names.items()}
        seen["trino"] = texts(ask(job["trino"], sql.replace("{t}", in_trino)))
        answer["queries"][name] = seen
    for name, case in job["pruned"].items():
        count = f"select count(*), sum(cast(round(total_amount * 100) as bigint)) from {{t}} where {case['where']}"
        rows = lambda relation: connection.execute(count.replace("{t}", relation)).fetchone()[0]
        scan = table.scan(row_filter=case["filter"])
        by_trino = count.replace("{t}", in_trino)
        answer["pruned"][name] = {
            "files": rows(names["files"]),
            "pyiceberg": [len(list(scan.plan_files())), scan.to_arrow().num_rows],
            "duckdb": [files_read(connection, count.replace("{t}", names["duckdb"])), rows(names["duckdb"])],
            "trino": [rows_read(job["trino"], by_trino), ask(job["trino"], by_trino)[0][0]],
            "explain": ask(job["trino"], f"explain {by_trino}")[0][0],
        }
    json.dump(answer, sys.stdout)


main()
