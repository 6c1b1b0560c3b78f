#!/usr/bin/env bash
# Loads the files of this folder through the pipelines of lakehost.toml: each command twice, because the second time nothing changes. Then looks
# back: the table as it was after January against the table as it is, as text and as the page report.html.
# Needs a built lakehost: $LAKEHOST_BIN, or the one in the path. The tables lie in ./warehouse beside this file.
set -euo pipefail
cd "$(dirname "$0")"
lakehost=${LAKEHOST_BIN:-lakehost}
here="file://$(pwd)/data/"

"$lakehost" run yellow_trips --month 2024-01 --config "base_url=$here" --allow "$here"
if ! "$lakehost" query "select 1 from raw.yellow_trips limit 1" --as-of january >/dev/null 2>&1; then
  "$lakehost" table tag raw.yellow_trips january
fi
for attempt in first second; do
  echo "== $attempt time"
  "$lakehost" run green_trips       --month 2024-01          --config "base_url=$here" --allow "$here"
  "$lakehost" run green_trips_clean --month 2024-01          --config "base_url=$here" --allow "$here"
  "$lakehost" run yellow_trips      --month 2024-01..2024-06 --config "base_url=$here" --allow "$here"
done
"$lakehost" query "select _lakehost_window, count(*) as trips, round(sum(total_amount), 2) as dollars from raw.yellow_trips group by 1 order by 1"
"$lakehost" query "select count(*) as trips, round(sum(total_amount), 2) as dollars from raw.yellow_trips" --as-of january
"$lakehost" snapshots raw.yellow_trips --against january
"$lakehost" snapshots raw.yellow_trips --against january --format html > report.html
echo "report.html has the same with charts"
