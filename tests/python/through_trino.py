"""Starts Trino on a free port of loopback, lets it change tables behind an Iceberg REST catalog, and ends it; what it saw, as JSON.

usage: through_trino.py tour URI TOKEN TRINO_HOME

TRINO_HOME holds `lib` and `plugin` of Trino 476 with its Iceberg plugin; JAVA_HOME is a JDK of at least 24.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

CONFIG = """coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
node.environment=lakehost
node.bind-ip=127.0.0.1
node.internal-address=127.0.0.1
plugin.dir={home}/plugin
query.max-memory=512MB
query.max-memory-per-node=512MB
memory.heap-headroom-per-node=400MB
task.concurrency=2
"""
CATALOG = """connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri={uri}
iceberg.rest-catalog.security=OAUTH2
iceberg.rest-catalog.oauth2.token={token}
fs.native-local.enabled=true
local.location=/
"""
JVM = ["-Xmx1500M", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256M"]
JVM += ["-Djdk.attach.allowAttachSelf=true", "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]


def fetch(url, body=None):
    request = urllib.request.Request(url, data=body, headers={"X-Trino-User": "lakehost", "X-Trino-Catalog": "lake"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def ask(server, sql):
    answer = fetch(f"{server}/v1/statement", sql.encode())
    rows = []
    while True:
        if "error" in answer:
            raise RuntimeError(f"{sql}: {answer['error']['message']}")
        rows += answer.get("data", [])
        if "nextUri" not in answer:
            return rows
        answer = fetch(answer["nextUri"])


def tour(server):
    seen = {}
    do = lambda sql: ask(server, sql)
    do("CREATE SCHEMA lake.trino")
    do("CREATE TABLE lake.trino.t (id BIGINT, name VARCHAR, pickup TIMESTAMP(6)) WITH (partitioning = ARRAY['day(pickup)'])")
    do("INSERT INTO lake.trino.t VALUES (1, 'a', TIMESTAMP '2024-01-01 00:00:00'), (2, 'b', NULL)")
    do("CREATE TABLE lake.trino.c AS SELECT id * 2 AS twice FROM lake.trino.t")
    seen["ctas"] = do("SELECT twice FROM lake.trino.c ORDER BY 1")
    do("UPDATE lake.trino.t SET name = 'x' WHERE id = 2")
    do("DELETE FROM lake.trino.t WHERE id = 1")
    do(
        "MERGE INTO lake.trino.t USING (VALUES (2, 'bb'), (3, 'c')) s (id, name) ON t.id = s.id "
        "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)"
    )
    seen["rows"] = do("SELECT id, name FROM lake.trino.t ORDER BY id")
    do("ALTER TABLE lake.trino.t ADD COLUMN extra DOUBLE")
    do("ALTER TABLE lake.trino.t EXECUTE optimize")
    do("ALTER TABLE lake.trino.c RENAME TO lake.trino.d")
    do("CREATE OR REPLACE TABLE lake.trino.d AS SELECT id * 3 AS thrice FROM lake.trino.t")
    seen["replaced"] = do("SELECT thrice FROM lake.trino.d ORDER BY 1")
    seen["tables"] = [name for [name] in do("SHOW TABLES FROM lake.trino")]
    do("DROP TABLE lake.trino.d")
    seen["rows_after"] = do("SELECT count(*) FROM lake.trino.t")
    return seen


def main():
    _, uri, token, home = sys.argv[1:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        etc = pathlib.Path(folder, "etc", "catalog")
        etc.mkdir(parents=True)
        config = etc.parent / "config.properties"
        config.write_text(CONFIG.format(port=port, home=home))
        (etc / "lake.properties").write_text(CATALOG.format(uri=uri, token=token))
        java = os.path.join(os.environ["JAVA_HOME"], "bin", "java")
        command = [java, *JVM, f"-Dconfig={config}", "-cp", f"{home}/lib/*", "io.trino.server.TrinoServer"]
        server = f"http://127.0.0.1:{port}"
        with open(os.path.join(folder, "log"), "wb+") as log:
            trino = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            try:
                for _ in range(300):
                    try:
                        if trino.poll() is not None or not fetch(f"{server}/v1/info")["starting"]:
                            break
                    except (urllib.error.URLError, ConnectionError):
                        pass
                    time.sleep(1)
                seen = tour(server)
            except Exception:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace")[-4000:])
                raise
            finally:
                trino.kill()
                trino.wait()
    json.dump(seen, sys.stdout)


main()
