#!/usr/bin/env bash
# Loads the files of this folder through the pipelines of lakehost.toml: each command twice, because the second time nothing changes.
# Needs a built lakehost: $LAKEHOST_BIN, or the one in the path. The tables lie in ./warehouse beside this file.
set -euo pipefail
cd "$(dirname "$0")"
lakehost=${LAKEHOST_BIN:-lakehost}
here="file://$(pwd)/data/"

for attempt in first second; do
  echo "== $attempt time"
  "$lakehost" run green_trips       --month 2024-01          --config "base_url=$here" --allow "$here"
  "$lakehost" run green_trips_clean --month 2024-01          --config "base_url=$here" --allow "$here"
  "$lakehost" run yellow_trips      --month 2024-01..2024-06 --config "base_url=$here" --allow "$here"
done
"$lakehost" query "select _lakehost_window, count(*) as trips, round(sum(total_amount), 2) as dollars from raw.yellow_trips group by 1 order by 1"
"$lakehost" snapshots raw.yellow_trips
