"""The month by Daft: a lazy frame, written by its Iceberg writer."""

import daft
import pyiceberg.catalog.sql  # noqa: F401  imported here so that its time counts as import
from daft import col, lit
from daft.functions import when

import common


def run(job):
    job.versions = {"daft": daft.__version__}
    month = job.download()
    table = job.table()
    pickup, dropoff = col("tpep_pickup_datetime"), col("tpep_dropoff_datetime")
    distance, fare, total = col("trip_distance"), col("fare_amount"), col("total_amount")
    missing = lit(False)
    for name in common.REQUIRED:
        missing = missing | col(name).is_null()
    failures = [
        missing,
        (pickup < lit(job.start)) | (pickup >= lit(job.end)),
        dropoff <= pickup,
        ~((distance > 0) & (distance < 200)),
        (fare < 0) | (total < 0),
    ]
    rule = when(failures[0], then=1)
    for number, failure in enumerate(failures[1:], 2):
        rule = rule.when(failure, then=number)
    rows = daft.read_parquet(str(month)).with_column("rule", rule.otherwise(0))
    with job.phase("count"):
        counted = rows.groupby("rule").agg(col("VendorID").count(mode="all").alias("rows")).to_pydict()
    counts = dict(zip(counted["rule"], counted["rows"]))
    job.rows_read = sum(counts.values())
    job.rejected = {common.RULES[number - 1]: count for number, count in counts.items() if number}
    micros = dropoff.cast(daft.DataType.int64()) - pickup.cast(daft.DataType.int64())
    kept = (
        rows.where(col("rule") == 0)
        .with_column("trip_minutes", micros / lit(60_000_000.0))
        .with_column("avg_mph", distance / (col("trip_minutes") / lit(60.0)))
        .with_column(common.WINDOW, lit(job.window))
        .select(*common.COLUMNS)
    )
    with job.phase("write"):
        kept.write_iceberg(table, mode="append")
    return counts[0]


if __name__ == "__main__":
    common.main(run)
