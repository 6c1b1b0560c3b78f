"""Let a running Trino change tables behind an Iceberg REST catalog in a folder of this machine; what it saw, as JSON.

usage: through_trino.py tour URI TOKEN TRINO [NAMESPACE.TABLE...]

TRINO is the URL of a server that takes catalogs at run time: it gets one of its own for this, which goes again. Rows of the tables are
counted, before and after it adds one.
"""

import json
import sys
import uuid

from trino import ask


def tour(do, tables):
    seen = {}
    do("CREATE SCHEMA trino")
    do("CREATE TABLE trino.t (id BIGINT, name VARCHAR, pickup TIMESTAMP(6)) WITH (partitioning = ARRAY['day(pickup)'])")
    do("INSERT INTO trino.t VALUES (1, 'a', TIMESTAMP '2024-01-01 00:00:00'), (2, 'b', NULL)")
    do("CREATE TABLE trino.c AS SELECT id * 2 AS twice FROM trino.t")
    seen["ctas"] = do("SELECT twice FROM trino.c ORDER BY 1")
    do("UPDATE trino.t SET name = 'x' WHERE id = 2")
    do("DELETE FROM trino.t WHERE id = 1")
    do(
        "MERGE INTO trino.t t USING (VALUES (2, 'bb'), (3, 'c')) s (id, name) ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)"
    )
    seen["rows"] = do("SELECT id, name FROM trino.t ORDER BY id")
    do("ALTER TABLE trino.t ADD COLUMN extra DOUBLE")
    do("ALTER TABLE trino.t EXECUTE optimize")
    do("ALTER TABLE trino.c RENAME TO trino.d")
    do("CREATE OR REPLACE TABLE trino.d AS SELECT id * 3 AS thrice FROM trino.t")
    seen["replaced"] = do("SELECT thrice FROM trino.d ORDER BY 1")
    seen["tables"] = [name for [name] in do("SHOW TABLES FROM trino")]
    do("DROP TABLE trino.d")
    seen["rows_after"] = do("SELECT count(*) FROM trino.t")
    seen["other"] = []
    for table in tables:
        before = do(f"SELECT count(*) FROM {table} WHERE _lakehost_window IS NOT NULL")
        do(f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1")
        seen["other"].append([before[0][0], do(f"SELECT count(*) FROM {table}")[0][0]])
    return seen


def main():
    _, uri, token, server, *tables = sys.argv[1:]
    catalog = "served_" + uuid.uuid4().hex[:12]
    properties = {
        "iceberg.catalog.type": "rest",
        "iceberg.rest-catalog.uri": uri,
        "iceberg.rest-catalog.security": "OAUTH2",
        "iceberg.rest-catalog.oauth2.token": token,
        "fs.native-local.enabled": "true",
        "local.location": "/",
    }
    pairs = ", ".join(f"\"{name}\" = '{value}'" for name, value in properties.items())
    ask(server, f"CREATE CATALOG {catalog} USING iceberg WITH ({pairs})")
    try:
        seen = tour(lambda sql: ask(server, sql, catalog), tables)
    finally:
        ask(server, f"DROP CATALOG {catalog}")
    json.dump(seen, sys.stdout)


main()
