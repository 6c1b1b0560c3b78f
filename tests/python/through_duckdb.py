"""Everything that DuckDB does to tables behind an Iceberg REST catalog; what it saw, as JSON.

usage: through_duckdb.py tour URI TOKEN
       through_duckdb.py make URI TOKEN NAMESPACE.TABLE
       through_duckdb.py insert URI TOKEN NAMESPACE.TABLE TIMES
       through_duckdb.py rows URI TOKEN NAMESPACE.TABLE

`--delegated` at the end asks the catalog for the keys of its bucket. `make` makes a table in a namespace that is there and changes it. `insert` adds one row of the table again so many times, each in a commit of its own, and tries again when another writer was faster.
"""

import json
import sys

import duckdb
import duckdb_extensions


def attached(uri, token, delegation):
    connection = duckdb.connect()
    for extension in ("httpfs", "avro", "iceberg"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.load_extension(extension)
    connection.execute(f"CREATE SECRET lakehost (TYPE iceberg, TOKEN '{token}')")
    connection.execute(
        f"ATTACH 'lakehost' AS lake (TYPE iceberg, ENDPOINT '{uri}', SECRET lakehost, ACCESS_DELEGATION_MODE '{delegation}')"
    )
    return connection


def tour(connection):
    do = connection.execute
    seen = {}

    def ask(sql):
        return [list(row) for row in do(sql).fetchall()]

    do("CREATE SCHEMA lake.gold")
    do("CREATE TABLE lake.gold.zones (id BIGINT, zone VARCHAR, fare DECIMAL(10, 2), since DATE)")
    do("INSERT INTO lake.gold.zones VALUES (1, 'north', 1.50, DATE '2024-01-01'), (2, 'south', 2.50, NULL)")
    seen["inserted"] = ask("SELECT id, zone, fare::VARCHAR, since::VARCHAR FROM lake.gold.zones ORDER BY id")
    do("CREATE TABLE lake.gold.numbers AS SELECT range AS id, range * 2 AS twice FROM range(1000)")
    seen["ctas"] = ask("SELECT count(*), sum(twice)::BIGINT FROM lake.gold.numbers")
    do("DELETE FROM lake.gold.numbers WHERE id < 10")
    do("UPDATE lake.gold.numbers SET twice = 0 WHERE id >= 990")
    seen["changed"] = ask("SELECT count(*), sum(twice)::BIGINT FROM lake.gold.numbers")
    do(
        "MERGE INTO lake.gold.zones USING (SELECT 2 AS id, 'west' AS zone UNION ALL SELECT 3, 'east') AS new ON zones.id = new.id "
        "WHEN MATCHED THEN UPDATE SET zone = new.zone WHEN NOT MATCHED THEN INSERT (id, zone) VALUES (new.id, new.zone)"
    )
    seen["merged"] = ask("SELECT id, zone FROM lake.gold.zones ORDER BY id")
    # As the models' materializations do it: what was there goes and what is new comes, in one transaction over two tables.
    do("BEGIN")
    do("DELETE FROM lake.gold.numbers WHERE id >= 500")
    do("INSERT INTO lake.gold.numbers SELECT range, 7 FROM range(5000, 5010)")
    do("INSERT INTO lake.gold.zones (id) VALUES (99)")
    do("COMMIT")
    seen["together"] = ask("SELECT (SELECT count(*) FROM lake.gold.numbers), (SELECT count(*) FROM lake.gold.zones)")
    do("BEGIN")
    do("DELETE FROM lake.gold.numbers WHERE true")
    do("ROLLBACK")
    seen["rolled_back"] = ask("SELECT count(*), sum(twice)::BIGINT FROM lake.gold.numbers")
    do("ALTER TABLE lake.gold.zones ADD COLUMN note VARCHAR")
    do("INSERT INTO lake.gold.zones (id, note) VALUES (100, 'new')")
    seen["evolved"] = ask("SELECT id, note FROM lake.gold.zones ORDER BY id")
    do("CREATE TABLE lake.gold.days (id BIGINT, day DATE) PARTITIONED BY (month(day))")
    do("INSERT INTO lake.gold.days VALUES (1, DATE '2024-01-05'), (2, DATE '2024-02-05')")
    seen["partitioned"] = ask("SELECT count(*) FROM lake.gold.days WHERE day < DATE '2024-02-01'")
    do("ALTER TABLE lake.gold.days RENAME TO months")
    do("CREATE TABLE lake.gold.short (id BIGINT)")
    do("DROP TABLE lake.gold.short")
    seen["tables"] = ask("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake' ORDER BY 1")
    return seen


def make(connection, table):
    do, name = connection.execute, f"lake.{table}"
    do(f"CREATE TABLE {name} AS SELECT 1::BIGINT AS id, 'north' AS zone")
    do(f"INSERT INTO {name} VALUES (2, 'south')")
    seen = {"made": [list(row) for row in do(f"SELECT id, zone FROM {name} ORDER BY id").fetchall()]}
    do(f"DELETE FROM {name} WHERE id = 1")
    do(f"INSERT INTO {name} VALUES (3, 'west')")
    seen["changed"] = [list(row) for row in do(f"SELECT id, zone FROM {name} ORDER BY id").fetchall()]
    return seen


def insert(connection, table, times):
    lost = 0
    for _ in range(int(times)):
        while True:
            try:
                connection.execute(f"INSERT INTO lake.{table} SELECT * FROM lake.{table} LIMIT 1")
                break
            except duckdb.TransactionException as error:
                if "CommitFailedException" not in str(error):
                    raise
                lost += 1
    return {"lost": lost}


def rows(connection, table):
    return {"rows": connection.execute(f"SELECT count(*) FROM lake.{table}").fetchone()[0]}


def main():
    verb, uri, token, *rest = sys.argv[1:]
    delegation = "vended_credentials" if "--delegated" in rest else "none"
    rest = [word for word in rest if word != "--delegated"]
    json.dump({"tour": tour, "make": make, "insert": insert, "rows": rows}[verb](attached(uri, token, delegation), *rest), sys.stdout)


main()
