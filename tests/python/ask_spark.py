"""Ask Spark, as JSON.

usage: ask_spark.py CONF JOB

CONF is the text of a spark.conf: a setting a line. JOB is {"queries": {name: sql}, "scans": {name: sql}}; the answer has the rows of each query as
lists of texts, and of each scan {"rows", "files", "plan"}: with how many data files Iceberg's scan was planned, and Spark's physical plan.
"""

import json
import sys

from spark import ask, session


def settings(conf):
    pairs = [line.split(" ", 1) for line in conf.splitlines() if line.strip()]
    # The jars are here already.
    return {name: value for name, value in pairs if name != "spark.jars.packages"}


def scan(spark, sql):
    frame = spark.sql(sql)
    rows = [[None if value is None else str(value) for value in row] for row in frame.collect()]
    plan = frame._jdf.queryExecution().executedPlan()
    leaves, files = plan.collectLeaves(), 0
    for at in range(leaves.size()):
        metrics = leaves.apply(at).metrics()
        files += metrics.apply("resultDataFiles").value()
    return {"rows": rows, "files": files, "plan": plan.toString()}


def main():
    conf, job = sys.argv[1], json.loads(sys.argv[2])
    spark = session(settings(conf))
    answer = {"queries": {name: ask(spark, sql) for name, sql in job.get("queries", {}).items()}}
    answer["scans"] = {name: scan(spark, sql) for name, sql in job.get("scans", {}).items()}
    spark.stop()
    json.dump(answer, sys.stdout)


main()
