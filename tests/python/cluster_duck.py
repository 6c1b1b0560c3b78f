"""A DuckDB of this process's own that reads the bucket of a cluster."""

import duckdb
import duckdb_extensions


def duck(properties):
    """Properties are those of a PyIceberg catalog."""
    connection = duckdb.connect()
    for extension in ("avro", "httpfs", "iceberg"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.load_extension(extension)
    host = properties["s3.endpoint"].removeprefix("http://")
    connection.execute(
        f"""create secret (type s3, key_id '{properties["s3.access-key-id"]}', secret '{properties["s3.secret-access-key"]}',
            endpoint '{host}', region '{properties["s3.region"]}', url_style 'path', use_ssl false)"""
    )
    return connection
