"""Watch the tables of a namespace through a REST catalog until a file is there, then say what was seen, as JSON.

usage: watch_tables.py PROPERTIES NAMESPACE STOP

PROPERTIES are those of a PyIceberg catalog as JSON. {"seen": [{table: rows}], "looks"}, in the order in which it was seen, each state once until it changes. Unless STOP is
there from the beginning, a line before it says that it has looked once.
"""

import json
import os
import sys
import time

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchNamespaceError


def state(catalog, namespace):
    try:
        names = sorted(name for _, name in catalog.list_tables(namespace))
    except NoSuchNamespaceError:
        return {}
    heads = {name: catalog.load_table(f"{namespace}.{name}").current_snapshot() for name in names}
    return {name: int(head.summary["total-records"]) if head else 0 for name, head in heads.items()}


def main(properties, namespace, stop):
    catalog = load_catalog("watched", **json.loads(properties))
    seen, looks = [], 0
    watches = not os.path.exists(stop)
    while True:
        # What was there before the last look is seen by it.
        last = os.path.exists(stop)
        now = state(catalog, namespace)
        looks += 1
        if looks == 1 and watches:
            print("looking", flush=True)
        if not seen or seen[-1] != now:
            seen.append(now)
        if last:
            break
        time.sleep(0.01)
    print(json.dumps({"seen": seen, "looks": looks}))


main(*sys.argv[1:])
