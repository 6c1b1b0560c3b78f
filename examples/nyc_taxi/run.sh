#!/usr/bin/env bash
# Loads the files of this folder through the pipelines of lakehost.toml: each command twice, because the second time nothing changes. Then looks
# back: the table as it was after January against the table as it is, as text and as the page report.html.
#
#   ./run.sh            nothing else runs: tables in ./warehouse beside this file
#   ./run.sh models     and the models of dbt_project/ on DuckDB (dbt is installed once: 390 MB)
#   ./run.sh stack      the same on a lakehouse of this machine, brought up first and ended in the end: S3 store, REST catalog on Postgres, models
#                       and queries on Trino; its programs are fetched once (2 GB), its state lies in ./stack
#
# Needs a built lakehost: $LAKEHOST_BIN, or the one in the path.
set -euo pipefail
cd "$(dirname "$0")"
lakehost=${LAKEHOST_BIN:-lakehost}
here="file://$(pwd)/data/"
place=()
engine=()

case ${1:-} in
  "" | models) ;;
  stack)
    trap '"$lakehost" stack down --home ./stack' EXIT
    "$lakehost" stack up --home ./stack
    . ./stack/env
    place=(--profile stack)
    engine=(--engine trino)
    ;;
  *)
    echo "run.sh: \`$1\` is neither \`models\` nor \`stack\`" >&2
    exit 2
    ;;
esac

run() { "$lakehost" run "$@" --config "base_url=$here" --allow "$here" "${place[@]}"; }
ask() { "$lakehost" query "$@" "${place[@]}" "${engine[@]}"; }

run yellow_trips --month 2024-01
if ! "$lakehost" query "select 1 from raw.yellow_trips limit 1" --as-of january "${place[@]}" >/dev/null 2>&1; then
  "$lakehost" table tag raw.yellow_trips january "${place[@]}"
fi
for attempt in first second; do
  echo "== $attempt time"
  run green_trips       --month 2024-01
  run green_trips_clean --month 2024-01
  run yellow_trips      --month 2024-01..2024-06
done
ask "select _lakehost_window, count(*) as trips, round(sum(total_amount), 2) as dollars from raw.yellow_trips group by 1 order by 1"
ask "select count(*) as trips, round(sum(total_amount), 2) as dollars from raw.yellow_trips" --as-of january
if [ -n "${1:-}" ]; then
  "$lakehost" models --project-dir ../../dbt_project "${place[@]}"
  ask "select * from gold.fct_daily_trips order by 1 limit 5"
fi
"$lakehost" snapshots raw.yellow_trips --against january "${place[@]}"
"$lakehost" snapshots raw.yellow_trips --against january --format html "${place[@]}" > report.html
echo "report.html has the same with charts"
