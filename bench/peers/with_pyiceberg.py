"""The month by PyIceberg: pyarrow reads and cleans the whole table in memory, PyIceberg appends it."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyiceberg
import pyiceberg.catalog.sql  # noqa: F401  imported here so that its time counts as import

import common


def clean(job, rows):
    """The rows that pass, with the derived columns; the others are counted by rule."""
    pickup, dropoff = rows["tpep_pickup_datetime"], rows["tpep_dropoff_datetime"]
    distance, fare, total = rows["trip_distance"], rows["fare_amount"], rows["total_amount"]
    missing = None
    for name in common.REQUIRED:
        nulls = pc.is_null(rows[name])
        missing = nulls if missing is None else pc.or_(missing, nulls)
    failures = [
        missing,
        pc.or_(pc.less(pickup, pa.scalar(job.start, pickup.type)), pc.greater_equal(pickup, pa.scalar(job.end, pickup.type))),
        pc.less_equal(dropoff, pickup),
        pc.invert(pc.and_(pc.greater(distance, 0), pc.less(distance, 200))),
        pc.or_(pc.less(fare, 0), pc.less(total, 0)),
    ]
    clean = pa.chunked_array([pa.repeat(True, rows.num_rows)])
    for rule, failure in zip(common.RULES, failures):
        failed = pc.and_(clean, pc.fill_null(failure, False))
        job.rejected[rule] = pc.sum(failed).as_py()
        clean = pc.and_not(clean, failed)
    kept = rows.filter(clean)
    del rows
    micros = pc.subtract(kept["tpep_dropoff_datetime"].cast(pa.int64()), kept["tpep_pickup_datetime"].cast(pa.int64()))
    minutes = pc.divide(micros.cast(pa.float64()), 60_000_000.0)
    return (
        kept.append_column("trip_minutes", minutes)
        .append_column("avg_mph", pc.divide(kept["trip_distance"], pc.divide(minutes, 60.0)))
        .append_column(common.WINDOW, pa.repeat(pa.scalar(job.window, pa.date32()), kept.num_rows))
    )


def run(job):
    job.versions = {"pyiceberg": pyiceberg.__version__, "pyarrow": pa.__version__}
    month = job.download()
    table = job.table()
    with job.phase("read"):
        rows = pq.read_table(month)
    job.rows_read = rows.num_rows
    with job.phase("clean"):
        kept = clean(job, rows)
        del rows
    with job.phase("append"):
        table.append(kept)
    return kept.num_rows


if __name__ == "__main__":
    common.main(run)
