"""Everything that PyIceberg does to a table behind an Iceberg REST catalog; what it saw, as JSON.

usage: through_pyiceberg.py tour URI TOKEN
       through_pyiceberg.py make URI TOKEN NAMESPACE.TABLE
       through_pyiceberg.py append URI TOKEN NAMESPACE.TABLE TIMES
       through_pyiceberg.py read URI TOKEN NAMESPACE.TABLE

`--delegated` at the end asks the catalog for the keys of its bucket. `make` makes a table in a namespace that is there and changes it. `append` adds one row of the table again so many times, each in a commit of its own, and tries again when another writer was faster.
"""

import json
import sys

import pyarrow
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, UnauthorizedError
from pyiceberg.expressions import EqualTo
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType


def rows(table):
    return sorted([list(row.values()) for row in table.scan().to_arrow().to_pylist()], key=str)


def batch(ids, zone, schema=None):
    columns = {"id": pyarrow.array(ids, pyarrow.int64()), "zone": pyarrow.array([zone] * len(ids), pyarrow.string())}
    return pyarrow.table(columns, schema=schema)


def tour(catalog, uri):
    seen = {}
    catalog.create_namespace("gold", {"owner": "me"})
    seen["namespaces"] = catalog.list_namespaces()
    seen["properties"] = catalog.load_namespace_properties("gold")
    catalog.update_namespace_properties("gold", removals={"owner"}, updates={"purpose": "reports"})
    seen["properties_after"] = catalog.load_namespace_properties("gold")

    table = catalog.create_table("gold.zones", batch([], "").schema, properties={"a": "1"})
    table.append(batch([1, 2], "north"))
    table.append(batch([3], "south"))
    seen["appended"] = rows(table)
    table.overwrite(batch([4, 5], "south"), overwrite_filter=EqualTo("zone", "south"))
    seen["overwritten"] = rows(table)
    table.delete(EqualTo("id", 1))
    seen["deleted"] = rows(table)
    table.upsert(batch([2, 6], "west"), join_cols=["id"])
    seen["upserted"] = rows(table)
    with table.update_schema() as update:
        update.add_column("note", StringType())
        update.rename_column("zone", "area")
    table.append(pyarrow.table({"id": [7], "area": ["east"], "note": ["new"]}))
    seen["evolved"] = rows(catalog.load_table("gold.zones"))
    with table.update_spec() as update:
        update.add_identity("area")
    table.append(pyarrow.table({"id": [8], "area": ["east"], "note": ["old"]}))
    with table.manage_snapshots() as snapshots:
        snapshots.create_tag(table.metadata.snapshots[0].snapshot_id, "first")
        snapshots.create_branch(table.current_snapshot().snapshot_id, "trial")
    table.append(pyarrow.table({"id": [9], "area": ["east"], "note": ["old"]}), branch="trial")
    with table.transaction() as transaction:
        transaction.set_properties({"b": "2"})
        transaction.remove_properties("a")
    table = catalog.load_table("gold.zones")
    seen["refs"] = sorted(table.metadata.refs)
    seen["table_properties"] = table.properties
    seen["rows"] = len(rows(table))
    seen["on_tag"] = table.scan(snapshot_id=table.metadata.refs["first"].snapshot_id).to_arrow().num_rows

    stale = catalog.load_table("gold.zones")
    with table.update_schema() as update:
        update.add_column("later", StringType())
    try:
        with stale.update_schema() as update:
            update.add_column("sooner", StringType())
        seen["stale"] = "committed"
    except CommitFailedException as error:
        seen["stale"] = str(error)

    spec = PartitionSpec(PartitionField(source_id=2, field_id=1000, transform=IdentityTransform(), name="zone"))
    schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "zone", StringType()))
    with catalog.create_table_transaction("gold.staged", schema, partition_spec=spec) as transaction:
        seen["staged_before"] = catalog.table_exists("gold.staged")
        transaction.append(batch([1, 2, 3], "here"))
    seen["staged"] = rows(catalog.load_table("gold.staged"))
    catalog.rename_table("gold.staged", "gold.renamed")
    seen["tables"] = sorted(name for _, name in catalog.list_tables("gold"))
    location = catalog.load_table("gold.renamed").metadata_location
    catalog.drop_table("gold.renamed")
    catalog.register_table("gold.back", location)
    seen["back"] = rows(catalog.load_table("gold.back"))
    catalog.purge_table("gold.back")
    try:
        catalog.load_table("gold.back")
    except NoSuchTableError:
        seen["gone"] = True
    try:
        load_catalog("other", type="rest", uri=uri, token="wrong").list_namespaces()
    except UnauthorizedError as error:
        seen["unauthorized"] = str(error)
    return seen


def make(catalog, name):
    table = catalog.create_table(name, batch([], "").schema)
    table.append(batch([1], "north"))
    table.append(batch([2], "south"))
    seen = {"made": rows(table)}
    table.delete(EqualTo("id", 1))
    table.append(batch([3], "west"))
    seen["changed"] = rows(catalog.load_table(name))
    return seen


def append(catalog, name, times):
    one = catalog.load_table(name).scan(limit=1).to_arrow()
    lost = 0
    for _ in range(int(times)):
        while True:
            try:
                catalog.load_table(name).append(one)
                break
            except CommitFailedException:
                lost += 1
    return {"lost": lost}


def read(catalog, name):
    table = catalog.load_table(name)
    parents = [(snapshot.snapshot_id, snapshot.parent_snapshot_id) for snapshot in table.metadata.snapshots]
    return {"rows": table.scan().to_arrow().num_rows, "parents": parents, "head": table.metadata.current_snapshot_id}


def main():
    verb, uri, token, *rest = sys.argv[1:]
    # PyIceberg asks for keys by itself; a catalog that does not delegate hands out none.
    rest = [word for word in rest if word != "--delegated"]
    catalog = load_catalog("lakehost", type="rest", uri=uri, token=token)
    if verb == "tour":
        seen = tour(catalog, uri)
    else:
        seen = {"make": make, "append": append, "read": read}[verb](catalog, *rest)
    json.dump(seen, sys.stdout)


main()
