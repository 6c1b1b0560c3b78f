//! The failed windows of a run, as people read them: windows that failed in the same way share one block. Machines get each in full.

use lakehost_pipeline::{Fault, RunReport};

use crate::render::{self, Colour};

/// Windows with the same fault.
struct Failure<'a> {
    fault: &'a Fault,
    /// What tells faults apart, with the window's own name cut out.
    likeness: String,
    /// Index in the report, and label.
    windows: Vec<(usize, &'a str)>,
}

/// All faults of a report, a block for each kind, in the order of their first windows.
pub fn text(report: &RunReport, colour: Colour) -> String {
    let mut failures: Vec<Failure<'_>> = Vec::new();
    for (index, window) in report.windows.iter().enumerate() {
        let Some(fault) = &window.fault else { continue };
        let label = window.window.as_deref().unwrap_or("all");
        let likeness = likeness(fault, label);
        match failures.iter_mut().find(|known| known.likeness == likeness) {
            Some(known) => known.windows.push((index, label)),
            None => failures.push(Failure { fault, likeness, windows: vec![(index, label)] }),
        }
    }
    failures.iter().map(|failure| block(failure, colour)).collect()
}

fn block(failure: &Failure<'_>, colour: Colour) -> String {
    match failure.windows.len() {
        0 | 1 => render::fault(failure.fault, colour),
        count => render::fault_of_windows(failure.fault, count, &ranges(&failure.windows), colour),
    }
}

/// The fault without its window: `green_tripdata_2024-01.parquet is not published yet` is the same as that of the next month.
fn likeness(fault: &Fault, label: &str) -> String {
    let inputs =
        fault.inputs().into_iter().filter(|(name, _)| name != "window").map(|(name, value)| name + "=" + &value);
    let parts = [fault.code().to_string(), fault.to_string()]
        .into_iter()
        .chain(inputs)
        .chain(fault.cause())
        .chain(fault.hint());
    parts.collect::<Vec<_>>().join("\n").replace(label, "\0")
}

/// `2024-01..2024-03, 2024-06`: neighbours in the run as a range.
fn ranges(windows: &[(usize, &str)]) -> String {
    let mut runs: Vec<(usize, &str, &str)> = Vec::new();
    for (index, label) in windows {
        match runs.last_mut() {
            Some((last, _, end)) if *last + 1 == *index => (*last, *end) = (*index, label),
            _ => runs.push((*index, label, label)),
        }
    }
    let shown = |(_, first, last): &(usize, &str, &str)| {
        if first == last { (*first).to_owned() } else { format!("{first}..{last}") }
    };
    runs.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::report;

    fn failed(label: &str, message: &str) -> lakehost_pipeline::WindowReport {
        let fault = Fault::new(Error::Usage { message: message.to_owned(), hint: Some("wait".to_owned()) });
        let mut window = report::failed("r", None, &fault).totals;
        window.window = Some(label.to_owned());
        window.fault = Some(fault.with("window", label).with("table", "raw.trips"));
        window
    }

    #[test]
    fn windows_that_fail_alike_share_a_block() {
        let mut whole = report::failed("r", None, &Fault::new(Error::usage("x")));
        whole.windows = ["2024-01", "2024-02", "2024-03", "2024-04", "2024-06"]
            .iter()
            .map(|label| failed(label, &format!("trips_{label}.parquet is not published yet")))
            .collect();
        whole.windows[3] = failed("2024-04", "the server is down");
        let expected = "\
error[LH0101]: trips_2024-01.parquet is not published yet, and 3 more windows fail alike
  input  table raw.trips, windows 2024-01..2024-03, 2024-06
  hint   wait
error[LH0101]: the server is down
  input  table raw.trips, window 2024-04
  hint   wait
";
        assert_eq!(text(&whole, Colour::Never), expected);
    }
}
