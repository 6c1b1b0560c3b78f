"""What every peer of the bench shares: the job's rules in words, the clock, the download, the catalog and the report.

The job: one yellow month from a local HTTP server, cleaned by five rules (the first that matches names the rejection), two derived columns and
the window's first day added, committed to an Iceberg table in a SQLite catalog on the local disk, rejected rows counted by rule.

A peer is `with_<name>.py` with one function `run(job)`. It is written as its own documentation would have it, with its default threads and
compression zstd, and it reads the file from the disk after one streamed download, which all of them do in the same way.
"""

import argparse
import datetime
import json
import os
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

RULES = ["null_required", "pickup_out_of_month", "dropoff_not_after_pickup", "distance_out_of_range", "negative_amount"]
REQUIRED = ["tpep_pickup_datetime", "tpep_dropoff_datetime", "trip_distance", "fare_amount", "total_amount"]
COLUMNS = {
    "VendorID": "int",
    "tpep_pickup_datetime": "timestamp",
    "tpep_dropoff_datetime": "timestamp",
    "passenger_count": "long",
    "trip_distance": "double",
    "RatecodeID": "long",
    "store_and_fwd_flag": "string",
    "PULocationID": "int",
    "DOLocationID": "int",
    "payment_type": "long",
    "fare_amount": "double",
    "extra": "double",
    "mta_tax": "double",
    "tip_amount": "double",
    "tolls_amount": "double",
    "improvement_surcharge": "double",
    "total_amount": "double",
    "congestion_surcharge": "double",
    "Airport_fee": "double",
    "trip_minutes": "double",
    "avg_mph": "double",
    "_lakehost_window": "date",
}
WINDOW = "_lakehost_window"


class Job:
    """The arguments of a run and what it has to report."""

    def __init__(self, arguments):
        self.url = arguments.url
        self.out = Path(arguments.out).resolve()
        self.layout = arguments.layout
        year, month = (int(part) for part in arguments.month.split("-"))
        self.start = datetime.datetime(year, month, 1)
        self.end = datetime.datetime(year + month // 12, month % 12 + 1, 1)
        self.window = self.start.date()
        self.name = f"yellow_tripdata_{arguments.month}.parquet"
        self.phases = {}
        self.rejected = {}
        self.rows_read = 0
        self.versions = {}

    @contextmanager
    def phase(self, name):
        """Times a part of the job."""
        wall, user = time.perf_counter(), user_seconds()
        yield
        self.phases[name] = {"wall_s": time.perf_counter() - wall, "user_s": user_seconds() - user}

    def download(self):
        """The month on the disk."""
        folder = self.out / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / self.name
        with self.phase("download"), urllib.request.urlopen(self.url + self.name) as answer, open(target, "wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
        return target

    def table(self):
        """A new Iceberg table, partitioned by the window and, on request, by the day of the pickup."""
        from pyiceberg.catalog.sql import SqlCatalog
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.schema import Schema
        from pyiceberg.transforms import DayTransform, IdentityTransform
        from pyiceberg.types import DateType, DoubleType, IntegerType, LongType, NestedField, StringType, TimestampType

        kinds = {
            "int": IntegerType(),
            "long": LongType(),
            "double": DoubleType(),
            "string": StringType(),
            "timestamp": TimestampType(),
            "date": DateType(),
        }
        with self.phase("create"):
            fields = [NestedField(i, name, kinds[kind], required=False) for i, (name, kind) in enumerate(COLUMNS.items(), 1)]
            ids = {field.name: field.field_id for field in fields}
            parts = [PartitionField(ids[WINDOW], 1000, IdentityTransform(), WINDOW)]
            if self.layout == "day":
                pickup = "tpep_pickup_datetime"
                parts.append(PartitionField(ids[pickup], 1001, DayTransform(), pickup + "_day"))
            catalog = SqlCatalog("lakehost", uri=f"sqlite:///{self.out}/catalog.db", warehouse=f"file://{self.out}/warehouse")
            catalog.create_namespace("clean")
            properties = {"write.parquet.compression-codec": "zstd"}
            spec = PartitionSpec(*parts)
            return catalog.create_table("clean.yellow_trips", Schema(*fields), partition_spec=spec, properties=properties)


def user_seconds():
    """User CPU of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.children_user


def main(run):
    """Runs a peer and prints its report, one JSON object, to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--month", required=True)
    parser.add_argument("--layout", choices=["window", "day"], required=True)
    parser.add_argument("--out", required=True)
    job = Job(parser.parse_args())
    started, user = time.perf_counter(), user_seconds()
    job.rows_written = run(job)
    report = {
        "rows_read": job.rows_read,
        "rows_written": job.rows_written,
        "rows_rejected": {rule: rows for rule, rows in job.rejected.items() if rows},
        "job": {"wall_s": time.perf_counter() - started, "user_s": user_seconds() - user},
        "phases": job.phases,
        "versions": job.versions,
    }
    print(json.dumps(report))
