//! `tlc-months`: writes seeded months shaped like the TLC's yellow files, for the bench and for tests of the fast paths.
//!
//! Values are bootstrapped from the genuine sample in `examples/nyc_taxi/data`, so that dictionaries, null blocks, dirt and bytes per row come
//! out as in the genuine files. The same seed, month and rows give the same file, byte for byte, on every machine.
#![expect(clippy::print_stdout, reason = "a command line for people")]

mod month;
mod random;
mod sample;
mod trip;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: tlc-months SAMPLE_DIR OUT_DIR MONTH[,MONTH…] [--rows N] [--seed N]";

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
    let (mut rows, mut seed) = (2_964_624, 1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64> {
            let text = words.next().with_context(|| format!("{word} wants a number"))?;
            text.parse().with_context(|| format!("{word} does not take `{text}`"))
        };
        match word.as_str() {
            "--rows" => rows = number()?,
            "--seed" => seed = number()?,
            _ => places.push(word),
        }
    }
    let [samples, out, months] = places.as_slice() else { bail!(USAGE) };
    let rows = usize::try_from(rows)?;
    let sample = sample::Sample::read(&PathBuf::from(samples))?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {out}"))?;
    for month in months.split(',') {
        let month = month::Month::parse(month)?;
        let path = PathBuf::from(out).join(format!("yellow_tripdata_{month}.parquet"));
        let trips = trip::Trips::new(&sample, month, rows, seed);
        let bytes = write::write(&path, trips)?;
        println!("{}: {rows} rows, {bytes} bytes", path.display());
    }
    Ok(())
}
