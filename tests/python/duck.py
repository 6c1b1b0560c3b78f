"""Run DuckDB statements, and answer the rows of the last as JSON: a list of lists of text.

usage: duck.py STATEMENT...
"""

import json
import sys

import duckdb


def main():
    connection = duckdb.connect()
    rows = []
    for statement in sys.argv[1:]:
        rows = connection.execute(statement).fetchall()
    json.dump([["" if value is None else str(value) for value in row] for row in rows], sys.stdout)


main()
