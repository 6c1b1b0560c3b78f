"""The month by DuckDB: SQL cleans it into Parquet files, PyIceberg adds them to the table."""

import duckdb
import pyiceberg
import pyiceberg.catalog.sql  # noqa: F401  imported here so that its time counts as import

import common


def run(job):
    job.versions = {"duckdb": duckdb.__version__, "pyiceberg": pyiceberg.__version__}
    month = job.download()
    table = job.table()
    missing = " or ".join(f"{name} is null" for name in common.REQUIRED)
    rule = f"""case when {missing} then 1
        when tpep_pickup_datetime < timestamp '{job.start}' or tpep_pickup_datetime >= timestamp '{job.end}' then 2
        when tpep_dropoff_datetime <= tpep_pickup_datetime then 3
        when not (trip_distance > 0 and trip_distance < 200) then 4
        when fare_amount < 0 or total_amount < 0 then 5
        else 0 end"""
    connection = duckdb.connect()
    with job.phase("count"):
        counts = dict(connection.execute(f"select {rule} as rule, count(*) from '{month}' group by 1").fetchall())
    job.rows_read = sum(counts.values())
    job.rejected = {common.RULES[number - 1]: count for number, count in counts.items() if number}
    names = [name for name in common.COLUMNS if name not in ("trip_minutes", "avg_mph", common.WINDOW)]
    day = ", tpep_pickup_datetime::date as pickup_day" if job.layout == "day" else ""
    select = f"""with trips as (
            select *, (epoch_us(tpep_dropoff_datetime) - epoch_us(tpep_pickup_datetime)) / 60000000.0::double as trip_minutes
            from '{month}' where {rule} = 0)
        select {", ".join(f'"{name}"' for name in names)}, trip_minutes, trip_distance / (trip_minutes / 60.0::double) as avg_mph,
            date '{job.window}' as {common.WINDOW}{day} from trips"""
    folder = job.out / "files"
    folder.mkdir()
    with job.phase("copy"):
        if job.layout == "day":
            options = "format parquet, compression zstd, partition_by (pickup_day)"
            connection.execute(f"copy ({select}) to '{folder}' ({options})")
        else:
            connection.execute(f"copy ({select}) to '{folder}/month.parquet' (format parquet, compression zstd)")
    with job.phase("commit"):
        table.add_files([str(path) for path in sorted(folder.rglob("*.parquet"))])
    return counts[0]


if __name__ == "__main__":
    common.main(run)
