"""Compare the tables of dbt_project with what DuckDB computes from the source files alone, as JSON.

usage: gold.py WAREHOUSE MONTH=FILE...
       gold.py PROPERTIES MONTH=FILE...
       gold.py --write OUT SELECT

The gold tables are read with PyIceberg: from a folder with a catalog in it, or from a catalog whose properties are given as JSON. For each table: its rows, and how many rows differ, with some of them. "days": trips and revenue of each
day of fct_daily_trips. "dates": the pickup dates of each month's file. With --write the rows of a statement become a Parquet file.
"""

import json
import math
import sys

import duckdb

TRIPS = """
select
    tpep_pickup_datetime as pickup, tpep_dropoff_datetime as dropoff, passenger_count,
    trip_distance::decimal(12, 2) as miles, "PULocationID"::integer as pu, "DOLocationID"::integer as do_,
    fare_amount::decimal(12, 2) as fare, tip_amount::decimal(12, 2) as tip, total_amount::decimal(12, 2) as total,
    floor(epoch(tpep_dropoff_datetime) - epoch(tpep_pickup_datetime))::bigint as seconds
from read_parquet('{file}')
where tpep_pickup_datetime < tpep_dropoff_datetime and trip_distance > 0 and fare_amount > 0
"""

EXPECTED = {
    "silver.stg_yellow_trips": "select month as _lakehost_window, count(*) as trips, sum(total)::double as total from trips group by 1",
    "gold.fct_daily_trips": """
        select pickup::date as pickup_date, count(*) as trips, sum(coalesce(passenger_count, 0))::bigint as passengers,
            avg(miles)::double as average_distance_miles, avg(seconds) / 60 as average_minutes, sum(fare)::double as fare_amount,
            sum(tip)::double as tip_amount, sum(total)::double as total_amount, avg(total)::double as revenue_per_trip
        from trips group by 1""",
    "gold.fct_hourly_revenue": """
        select pickup::date as pickup_date, hour(pickup) as pickup_hour, count(*) as trips, sum(total)::double as revenue,
            avg(total)::double as average_revenue, avg(miles)::double as average_distance_miles
        from trips group by 1, 2""",
    "gold.fct_trip_distance_stats": """
        select pu as pickup_location_id, p.zone as pickup_zone, do_ as dropoff_location_id, d.zone as dropoff_zone, count(*) as trips,
            avg(miles)::double as average_distance_miles, min(miles)::double as least_distance_miles, max(miles)::double as greatest_distance_miles,
            stddev_samp(miles::double) as deviation_distance_miles, avg(seconds) / 60 as average_minutes, min(seconds) / 60 as least_minutes,
            max(seconds) / 60 as greatest_minutes, avg(total)::double as average_revenue
        from trips left join zones p on p.location_id = pu left join zones d on d.location_id = do_ group by 1, 2, 3, 4""",
    "gold.dim_zone": "select location_id, borough, zone, service_zone from zones",
}

# The staged table is compared by window, the others row by row.
FOUND = {"silver.stg_yellow_trips": "select _lakehost_window, count(*) as trips, sum(total_amount)::double as total from found group by 1"}


# What tells the rows of each apart: its first columns.
KEYS = {"silver.stg_yellow_trips": 1, "gold.fct_daily_trips": 1, "gold.fct_hourly_revenue": 2, "gold.fct_trip_distance_stats": 4, "gold.dim_zone": 1}


def same(a, b):
    if isinstance(a, float) or isinstance(b, float):
        return a is not None and b is not None and math.isclose(float(a), float(b), rel_tol=1e-9, abs_tol=1e-6)
    return a == b


def keyed(rows, width):
    return {tuple(row[:width]): row for row in rows}


def plain(value):
    return float(value) if type(value).__name__ == "Decimal" else value


def main():
    if sys.argv[1] == "--write":
        out, statement = sys.argv[2:]
        duckdb.connect().execute(f"copy ({statement}) to '{out}' (format parquet)")
        json.dump({}, sys.stdout)
        return
    from pyiceberg.catalog import load_catalog

    place, *months = sys.argv[1:]
    folder = {"type": "sql", "uri": f"sqlite:///{place}/catalog.db", "warehouse": place}
    catalog = load_catalog("lakehost", **(json.loads(place) if place.startswith("{") else folder))
    connection = duckdb.connect()
    zones = __file__.replace("tests/python/gold.py", "dbt_project/seeds/dim_zone.csv")
    connection.execute(f"create view zones as select * from read_csv('{zones}', header = true, nullstr = '')")
    parts, dates = [], {}
    for month in months:
        label, file = month.split("=", 1)
        trips = TRIPS.format(file=file)
        parts.append(f"select *, date '{label}-01' as month from ({trips})")
        days = connection.execute(f"select distinct pickup::date::varchar from ({trips}) order by 1").fetchall()
        dates[label] = [day for (day,) in days]
    connection.execute("create table trips as " + " union all ".join(parts))
    answer = {"dates": dates}
    for table, statement in EXPECTED.items():
        relation = connection.execute(statement)
        columns = [column[0] for column in relation.description]
        expected = relation.fetchall()
        connection.register("found", catalog.load_table(table).scan().to_arrow())
        names = ", ".join(columns)
        statement = FOUND.get(table, f"select {names} from found")
        found = connection.execute(statement).fetchall()
        if table == "gold.fct_daily_trips":
            answer["days"] = {str(row[0]): [row[1], float(row[7])] for row in found}
        expected, found = keyed(expected, KEYS[table]), keyed(found, KEYS[table])
        different = [
            [str(key), str(expected.get(key)), str(found.get(key))]
            for key in sorted(expected.keys() | found.keys(), key=str)
            if key not in expected
            or key not in found
            or not all(same(plain(a), plain(b)) for a, b in zip(expected[key], found[key]))
        ]
        answer[table] = {"rows": len(found), "different": len(different), "some": different[:3]}
    json.dump(answer, sys.stdout)


main()
