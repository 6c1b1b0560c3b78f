"""The month by Polars: a lazy scan, streamed into Iceberg by its own sink."""

import polars as pl
import pyiceberg.catalog.sql  # noqa: F401  imported here so that its time counts as import

import common


def run(job):
    job.versions = {"polars": pl.__version__}
    month = job.download()
    table = job.table()
    pickup, dropoff = pl.col("tpep_pickup_datetime"), pl.col("tpep_dropoff_datetime")
    distance, fare, total = pl.col("trip_distance"), pl.col("fare_amount"), pl.col("total_amount")
    failures = [
        pl.any_horizontal(pl.col(name).is_null() for name in common.REQUIRED),
        (pickup < job.start) | (pickup >= job.end),
        dropoff <= pickup,
        ~((distance > 0) & (distance < 200)),
        (fare < 0) | (total < 0),
    ]
    rule = pl.lit(0, pl.UInt8)
    for number, failure in reversed(list(enumerate(failures, 1))):
        rule = pl.when(failure).then(pl.lit(number, pl.UInt8)).otherwise(rule)
    rows = pl.scan_parquet(month).with_columns(rule=rule)
    with job.phase("count"):
        counts = dict(rows.group_by("rule").agg(pl.len()).collect(engine="streaming").iter_rows())
    job.rows_read = sum(counts.values())
    job.rejected = {common.RULES[number - 1]: count for number, count in counts.items() if number}
    minutes = (dropoff - pickup).dt.total_microseconds() / 60_000_000.0
    kept = (
        rows.filter(pl.col("rule") == 0)
        .drop("rule")
        .with_columns(trip_minutes=minutes)
        .with_columns(avg_mph=distance / (pl.col("trip_minutes") / 60.0))
        .with_columns(pl.lit(job.window).alias(common.WINDOW))
        .select(list(common.COLUMNS))
    )
    with job.phase("write"):
        kept.sink_iceberg(table, mode="append")
    return counts[0]


if __name__ == "__main__":
    common.main(run)
