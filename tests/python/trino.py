"""Statements to a Trino for the tests."""

import requests


def ask(url, statement, catalog="lake"):
    """All rows of a statement: Trino answers page by page."""
    headers = {"X-Trino-User": "lakehost", "X-Trino-Catalog": catalog}
    answer = requests.post(f"{url}/v1/statement", data=statement.encode(), headers=headers, timeout=60)
    rows = []
    while True:
        answer.raise_for_status()
        page = answer.json()
        if "error" in page:
            raise SystemExit(f"{statement}: {page['error']['message']}")
        rows.extend(page.get("data", []))
        if "nextUri" not in page:
            return rows
        answer = requests.get(page["nextUri"], headers=headers, timeout=60)
