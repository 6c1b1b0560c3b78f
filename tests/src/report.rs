//! The history of a table as people, programs and browsers get it, and the present against an earlier state.

use std::process::Command;

use anyhow::Result;

use crate::support::{Bench, binary, data, expect};

const MONTHS: [&str; 3] =
    ["yellow_tripdata_2024-01.parquet", "yellow_tripdata_2024-02.parquet", "yellow_tripdata_2024-03.parquet"];

#[test]
fn a_history_is_a_page_a_document_and_a_table_of_the_same_numbers() -> Result<()> {
    let bench = Bench::serving(&MONTHS)?;
    let loaded = bench.load("yellow", "2024-01..2024-03", &[])?;
    expect(&loaded, 0, &["loaded", "loaded", "loaded"]);
    let first = loaded.json()?["windows"][0]["snapshot_id"].as_str().unwrap().to_owned();
    assert_eq!(bench.run(&["table", "tag", "raw.yellow_trips", "v1", "--at", &first])?.code, 0);

    for earlier in [first.as_str(), "v1"] {
        let told = ["snapshots", "raw.yellow_trips", "--against", earlier, "--format"];
        let json = bench.run(&[&told[..], &["json"]].concat())?.json()?;
        assert_eq!(json["snapshots"].as_array().unwrap().len(), 3);
        assert_eq!((&json["against"]["rows_before"], &json["against"]["rows_after"]), (&1_703.into(), &4_998.into()));
        assert_eq!(json["against"]["windows"].as_array().unwrap().len(), 2);
        let text = bench.run(&[&told[..], &["text"]].concat())?.stdout;
        assert!(text.contains("+3,295 rows (1,703 → 4,998)") && text.contains("2024-03"), "{text}");
        let page = bench.run(&[&told[..], &["html"]].concat())?.stdout;
        for part in [
            "<h1>raw.yellow_trips</h1>",
            "4,998",
            "1,703 → 4,998 (+3,295) rows",
            "2024-03",
            &first,
            "<svg",
            "nyc_tlc@0.1.0",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        for outside in ["<script", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
    let none = bench.run(&["snapshots", "raw.yellow_trips", "--against", "nosuch", "--format", "html"])?;
    assert_eq!((none.code, none.stdout.as_str()), (2, ""), "{}", none.stderr);
    let before = bench.run(&["snapshots", "raw.yellow_trips", "--against", "2001-01-01"])?;
    assert!(before.code == 2 && before.stderr.contains("had no rows yet"), "{}", before.stderr);
    Ok(())
}

#[test]
fn the_example_runs_twice_and_leaves_a_report() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let example = bench.dir.path().join("example");
    let from = data().parent().map(std::path::Path::to_owned).unwrap_or_default();
    std::fs::create_dir_all(example.join("data"))?;
    for file in ["lakehost.toml", "run.sh"] {
        std::fs::copy(from.join(file), example.join(file))?;
    }
    for entry in std::fs::read_dir(data())? {
        let path = entry?.path();
        std::fs::copy(&path, example.join("data").join(path.file_name().unwrap_or_default()))?;
    }
    for _ in 0..2 {
        let done = Command::new("bash").arg("run.sh").env("LAKEHOST_BIN", binary()).current_dir(&example).output()?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
        assert!(said.contains("+8,297 rows (1,703 → 10,000)"), "{said}");
    }
    let page = std::fs::read_to_string(example.join("report.html"))?;
    assert!(page.contains("1,703 → 10,000") && page.ends_with("</html>\n"), "{page}");
    let kept = example.join("warehouse/raw_data/raw.yellow_trips/2024-06/yellow_tripdata_2024-06.parquet");
    assert_eq!(std::fs::read(kept)?, std::fs::read(data().join("yellow_tripdata_2024-06.parquet"))?);
    Ok(())
}
