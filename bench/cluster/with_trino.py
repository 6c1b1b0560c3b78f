"""The months by Trino, asked over its own HTTP protocol; no library stands between.

    with_trino.py select --uri URL --months 2024-01,2024-02 --from lake.asis.yellow_trips --table lake.bench.trino
    with_trino.py values --uri URL --months 2024-01 --file PARQUET --rows 10000 --table lake.bench.values

`select` replaces each window by a DELETE of its partition and one INSERT … SELECT from a table that has the month as it came. `values` is how the
reference system writes: it cleans a month in Python and sends INSERT … VALUES of 1,000 rows each; it stops after so many rows and prints, beside its
time, the sums that the table must have.
"""

import argparse
import datetime
import json
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))
import common  # noqa: E402

ROWS_A_STATEMENT = 1_000
KINDS = {"int": "integer", "long": "bigint", "double": "double", "string": "varchar", "timestamp": "timestamp(6)", "date": "date"}


class Trino:
    def __init__(self, uri):
        self.uri = uri
        self.statements = 0

    def run(self, sql):
        """Sends a statement and follows it to its end. Answers the rows."""
        self.statements += 1
        headers = {"X-Trino-User": "bench", "X-Trino-Source": "lakehost-bench"}
        request = urllib.request.Request(f"{self.uri}/v1/statement", sql.encode(), headers)
        rows = []
        while True:
            with urllib.request.urlopen(request) as answer:
                page = json.load(answer)
            if "error" in page:
                raise SystemExit(f"{page['error']['errorName']}: {page['error']['message']}\n{sql[:300]}")
            rows += page.get("data", [])
            if "nextUri" not in page:
                return rows
            request = urllib.request.Request(page["nextUri"], headers=headers)

    def make(self, table):
        schema = table.rsplit(".", 1)[0]
        columns = ", ".join(f'"{name.lower()}" {KINDS[kind]}' for name, kind in common.COLUMNS.items())
        self.run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        self.run(
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}) WITH (format = 'PARQUET', partitioning = ARRAY['{common.WINDOW}'])"
        )


def job_of(month):
    return common.Job(SimpleNamespace(url="", out=".", layout="window", month=month))


def select(arguments, trino):
    trino.make(arguments.table)
    written = 0
    for month in arguments.months.split(","):
        job = job_of(month)
        window = f"DATE '{job.window}'"
        given = ", ".join(f'"{name.lower()}"' for name in common.COLUMNS if name not in ("trip_minutes", "avg_mph", common.WINDOW))
        minutes = "CAST(date_diff('second', tpep_pickup_datetime, tpep_dropoff_datetime) AS double) / 60e0"
        rules = " AND ".join(f"{name} IS NOT NULL" for name in common.REQUIRED)
        rules += f" AND tpep_pickup_datetime >= TIMESTAMP '{job.start}' AND tpep_pickup_datetime < TIMESTAMP '{job.end}'"
        rules += " AND tpep_dropoff_datetime > tpep_pickup_datetime AND trip_distance > 0 AND trip_distance < 200"
        rules += " AND fare_amount >= 0 AND total_amount >= 0"
        trino.run(f"DELETE FROM {arguments.table} WHERE {common.WINDOW} = {window}")
        done = trino.run(
            f"INSERT INTO {arguments.table} SELECT {given}, {minutes}, trip_distance / ({minutes} / 60e0), {common.WINDOW} "
            f"FROM {getattr(arguments, 'from')} WHERE {common.WINDOW} = {window} AND {rules}"
        )
        written += done[0][0]
    return {"rows_written": written}


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, datetime.datetime):
        return f"TIMESTAMP '{value.isoformat(' ', 'microseconds')}'"
    if isinstance(value, datetime.date):
        return f"DATE '{value}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"DOUBLE '{value!r}'" if isinstance(value, float) else str(value)


def values(arguments, trino):
    import pyarrow.parquet as pq

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from sums import sums_of
    from with_pyiceberg import clean

    trino.run(f"DROP TABLE IF EXISTS {arguments.table}")
    trino.make(arguments.table)
    rows = clean(job_of(arguments.months), pq.read_table(arguments.file)).slice(0, arguments.rows)
    rows = rows.select(list(common.COLUMNS))
    seconds = 0.0
    for start in range(0, rows.num_rows, ROWS_A_STATEMENT):
        batch = rows.slice(start, ROWS_A_STATEMENT).to_pylist()
        begun = time.perf_counter()
        tuples = ", ".join("(" + ", ".join(literal(value) for value in row.values()) + ")" for row in batch)
        trino.run(f"INSERT INTO {arguments.table} VALUES {tuples}")
        seconds += time.perf_counter() - begun
    return {"rows_written": rows.num_rows, "insert_s": seconds, "sums": sums_of(rows)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=["select", "values"])
    for flag in ("--uri", "--months", "--table"):
        parser.add_argument(flag, required=True)
    for flag in ("--from", "--file"):
        parser.add_argument(flag)
    parser.add_argument("--rows", type=int, default=10_000)
    arguments = parser.parse_args()
    trino = Trino(arguments.uri)
    report = {"select": select, "values": values}[arguments.how](arguments, trino)
    print(json.dumps(report | {"statements": trino.statements}))


if __name__ == "__main__":
    main()
