"""The files in a table's folder that no snapshot and no metadata version of it refers to, by PyIceberg alone, as a sorted JSON list.

usage: unreferenced.py WAREHOUSE NAMESPACE.TABLE
"""

import json
import os
import sys

from pyiceberg.catalog.sql import SqlCatalog


def plain(location):
    return location.removeprefix("file://")


def main():
    warehouse, name = sys.argv[1:]
    table = SqlCatalog("lakehost", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=warehouse).load_table(name)
    known = {plain(table.metadata_location)} | {plain(entry.metadata_file) for entry in table.metadata.metadata_log}
    manifests = {}
    for snapshot in table.metadata.snapshots:
        known.add(plain(snapshot.manifest_list))
        manifests.update({manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)})
    for path, manifest in manifests.items():
        known.add(plain(path))
        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        known.update(plain(entry.data_file.file_path) for entry in entries)
    found = set()
    for folder, _, files in os.walk(plain(table.location())):
        found.update(os.path.join(folder, file) for file in files)
    missing = known - found
    assert not missing, f"files of the table are gone: {sorted(missing)[:5]}"
    json.dump(sorted(found - known), sys.stdout)


main()
