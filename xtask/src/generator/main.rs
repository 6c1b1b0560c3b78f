//! `tlc-months`: writes seeded months shaped like the TLC's yellow and green files, for the bench and for tests.
//!
//! Values are bootstrapped from the genuine sample in `examples/nyc_taxi/data`, so that dictionaries, null blocks, dirt and bytes per row come
//! out as in the genuine files. The same seed, month and rows give the same file, byte for byte, on every machine.
#![expect(clippy::print_stdout, reason = "a command line for people")]

mod dataset;
mod month;
mod random;
mod sample;
mod trip;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use dataset::Dataset;

const USAGE: &str =
    "usage: tlc-months SAMPLE_DIR OUT_DIR MONTH[,MONTH…] [--dataset yellow|green] [--rows N] [--seed N]";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut words: impl Iterator<Item = String>) -> Result<()> {
    let mut places = Vec::new();
    let (mut dataset, mut rows, mut seed) = (Dataset::Yellow, None, 1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        let number = |text: String| text.parse::<u64>().with_context(|| format!("{word} does not take `{text}`"));
        match word.as_str() {
            "--dataset" => dataset = value()?.parse()?,
            "--rows" => rows = Some(usize::try_from(number(value()?)?)?),
            "--seed" => seed = number(value()?)?,
            _ => places.push(word),
        }
    }
    let [samples, out, months] = places.as_slice() else { bail!(USAGE) };
    let rows = rows.unwrap_or(dataset.rows());
    let sample = sample::Sample::read(&PathBuf::from(samples), dataset)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {out}"))?;
    for month in months.split(',') {
        let month = month::Month::parse(month)?;
        let path = PathBuf::from(out).join(format!("{dataset}_tripdata_{month}.parquet"));
        let trips = trip::Trips::new(&sample, month, rows, dataset.unmetered_per_mille(), seed);
        let bytes = write::write(&path, dataset, trips)?;
        println!("{}: {rows} rows, {bytes} bytes", path.display());
    }
    Ok(())
}
