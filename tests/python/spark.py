"""A Spark of this process's own for the tests: settings that are not about the question asked.

LAKEHOST_SPARK_JARS names Iceberg's jars, LAKEHOST_SPARK_HEAP the most memory, JAVA_HOME a Java that runs it.
"""

import os

from pyspark.sql import SparkSession


def session(settings):
    builder = SparkSession.builder.master("local[1]")
    own = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": os.environ["LAKEHOST_SPARK_HEAP"],
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.jars": os.environ["LAKEHOST_SPARK_JARS"],
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        # The plan that is looked at afterwards is the one that ran.
        "spark.sql.adaptive.enabled": "false",
    }
    for name, value in (own | settings).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def ask(spark, sql):
    return [[None if value is None else str(value) for value in row] for row in spark.sql(sql).collect()]
