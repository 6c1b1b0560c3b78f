"""Everything that Spark does to tables behind an Iceberg REST catalog; what it saw, as JSON.

usage: through_spark.py tour URI TOKEN [NAMESPACE.TABLE]

With a table, its rows are counted too. `spark.py` says what it needs.
"""

import json
import sys

from spark import ask as ask_spark
from spark import session


def settings(uri, token):
    pairs = (("", "org.apache.iceberg.spark.SparkCatalog"), (".type", "rest"), (".uri", uri), (".token", token), (".rest.auth.type", "oauth2"))
    return {"spark.sql.catalog.lake" + name: value for name, value in pairs}


def main():
    _, uri, token, *tables = sys.argv[1:]
    spark = session(settings(uri, token))
    seen = {}

    def ask(sql):
        return ask_spark(spark, sql)

    ask("CREATE NAMESPACE lake.silver")
    ask("CREATE TABLE lake.silver.t (id BIGINT, name STRING, day DATE) USING iceberg PARTITIONED BY (months(day))")
    ask("INSERT INTO lake.silver.t VALUES (1, 'a', DATE '2024-01-01'), (2, 'b', NULL)")
    ask("UPDATE lake.silver.t SET name = 'x' WHERE id = 2")
    ask("DELETE FROM lake.silver.t WHERE id = 1")
    ask(
        "MERGE INTO lake.silver.t USING (SELECT 2L AS id, 'bb' AS name UNION ALL SELECT 3L, 'c') s ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)"
    )
    seen["rows"] = ask("SELECT id, name FROM lake.silver.t ORDER BY id")
    ask("ALTER TABLE lake.silver.t ADD COLUMN extra DOUBLE")
    ask("CREATE TABLE lake.silver.c USING iceberg AS SELECT id * 2 AS twice FROM lake.silver.t")
    ask("CREATE OR REPLACE TABLE lake.silver.c USING iceberg AS SELECT id * 3 AS thrice FROM lake.silver.t")
    seen["replaced"] = ask("SELECT thrice FROM lake.silver.c ORDER BY 1")
    ask("CALL lake.system.rewrite_data_files(table => 'silver.t', options => map('rewrite-all', 'true'))")
    seen["snapshots"] = ask("SELECT count(*) FROM lake.silver.t.snapshots")
    seen["tables"] = sorted(row[1] for row in ask("SHOW TABLES IN lake.silver"))
    ask("DROP TABLE lake.silver.c PURGE")
    seen["rows_after"] = ask("SELECT count(*) FROM lake.silver.t")
    seen["other"] = [ask(f"SELECT count(*) FROM lake.{table}")[0][0] for table in tables]
    spark.stop()
    json.dump(seen, sys.stdout)


main()
