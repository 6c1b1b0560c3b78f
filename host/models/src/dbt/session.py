"""Runs commands of dbt. Each line of standard input is one, as a JSON list of its words; a line of standard output says how it ended, behind all
that dbt says of it. One process runs all commands of a run, since dbt takes longer to start than to do what most of them ask for."""

import json
import sys

from dbt.cli.main import dbtRunner

for line in sys.stdin:
    ended = dbtRunner().invoke(json.loads(line))
    said = None if ended.exception is None else str(ended.exception) or type(ended.exception).__name__
    print(json.dumps({"lakehost": {"success": ended.success, "error": said}}), flush=True)
