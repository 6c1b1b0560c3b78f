//! The bars: what is asked, what came out, and whether that is enough.

use super::jobs::{Job, Sample};

/// One bar's verdict.
pub struct Bar {
    pub bar: &'static str,
    pub what: String,
    pub limit: String,
    pub measured: String,
    /// None when it could not be measured.
    pub met: Option<bool>,
}

impl Bar {
    /// A ratio that is worth knowing, and that nothing is asked of.
    pub fn without(bar: &'static str, what: String, value: Option<f64>) -> Self {
        Self { limit: "no bar".to_owned(), met: None, ..ratio(bar, what, f64::INFINITY, value) }
    }
}

type Runs<'a> = &'a [(Job, Vec<Sample>)];

/// Judges what was run.
pub fn judge(samples: Runs<'_>, bars: &[String]) -> Vec<Bar> {
    let has = |bar: &str| bars.iter().any(|known| known == bar);
    let mut results = Vec::new();
    if has("P1") {
        for (layout, title, limit) in [("window", "by window", 0.25), ("day", "by day", 0.35)] {
            let ours = runs(samples, &format!("p1-{layout}/lakehost"));
            let peers = ["polars", "daft"].map(|peer| runs(samples, &format!("p1-{layout}/{peer}")));
            let against = |get: fn(&Sample) -> f64, peer: fn(&Sample) -> f64| ratio_to_best(ours, peers, get, peer);
            results.push(ratio(
                "P1",
                format!("{title}: wall against the better of Polars and Daft"),
                limit,
                against(wall, wall),
            ));
            results.push(ratio(
                "P1",
                format!("{title}: user CPU against the better of them"),
                limit,
                against(user, user),
            ));
            for (what, value) in [
                ("wall", against(wall, |run| run.job.map_or(f64::NAN, |(wall, _)| wall))),
                ("user CPU", against(user, |run| run.job.map_or(f64::NAN, |(_, user)| user))),
            ] {
                let what = format!("{title}: {what} against them without their start and imports");
                results.push(Bar::without("P1", what, value));
            }
            results.push(most("P1", format!("{title}: peak RSS"), 200.0, "MiB", max(ours, rss)));
            results.push(most("P1", format!("{title}: all data files"), 80.0, "MB", max(ours, data)));
        }
    }
    if has("P1") {
        let (keeping, plain) = (runs(samples, "p1-window/lakehost-keeping"), runs(samples, "p1-window/lakehost"));
        let value = median_of_rounds(keeping, plain, |keeping, plain| user(keeping) / user(plain));
        let what = "by window, rejected rows kept in a table beside (which no peer does), against without: user CPU";
        results.push(Bar::without("P1", what.to_owned(), value));
    }
    if has("P2") {
        let (pages, footer) = (runs(samples, "p2/pages"), runs(samples, "p2/footer"));
        results.push(most("P2", "as it is, every page verified: wall".to_owned(), 0.5, "s", median(pages, wall)));
        results.push(most(
            "P2",
            "as it is, every page verified: CPU (user + system)".to_owned(),
            0.6,
            "s",
            median(pages, cpu),
        ));
        results.push(most(
            "P2",
            "as it is, footer verified: CPU (user + system)".to_owned(),
            0.2,
            "s",
            median(footer, cpu),
        ));
    }
    if has("P4") {
        let (component, native) = (runs(samples, "p4/component"), runs(samples, "p4/native"));
        let value = median_of_rounds(component, native, |component, native| user(component) / user(native));
        results.push(ratio(
            "P4",
            "cleaner as a component against the same code compiled in: user CPU".to_owned(),
            1.10,
            value,
        ));
    }
    if has("P5") {
        let (month, year) = (runs(samples, "p1-window/lakehost"), runs(samples, "p5/year"));
        let memory = max(year, rss).zip(max(month, rss)).map(|(year, month)| year / month);
        results.push(ratio("P5", "12 months against 1: peak RSS".to_owned(), 1.1, memory));
        let time = median_of_rounds(year, month, |year, month| wall(year) / wall(month));
        results.push(ratio("P5", "12 months against 1: wall".to_owned(), 12.0, time));
    }
    if has("P6") {
        let inspect = median(runs(samples, "p6/inspect"), wall).map(|seconds| seconds * 1000.0);
        results.push(most(
            "P6",
            "process start to first guest call, warm cache (whole `plugin inspect`)".to_owned(),
            40.0,
            "ms",
            inspect,
        ));
    }
    results
}

pub fn wall(run: &Sample) -> f64 {
    run.cost.wall_s
}

pub fn user(run: &Sample) -> f64 {
    run.cost.user_s
}

pub fn cpu(run: &Sample) -> f64 {
    run.cost.user_s + run.cost.system_s
}

/// Mebibytes.
pub fn rss(run: &Sample) -> f64 {
    run.cost.peak_rss_bytes as f64 / 1_048_576.0
}

/// Megabytes.
pub fn data(run: &Sample) -> f64 {
    run.data_bytes as f64 / 1e6
}

fn runs<'a>(samples: Runs<'a>, id: &str) -> &'a [Sample] {
    samples.iter().find(|(job, _)| job.id == id).map(|(_, runs)| runs.as_slice()).unwrap_or_default()
}

/// The middle value; none without a run.
pub fn median(runs: &[Sample], get: fn(&Sample) -> f64) -> Option<f64> {
    middle(runs.iter().map(get).collect())
}

/// The middle of some figures; none without one.
pub fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { high } else { f64::midpoint(high, values[values.len() / 2 - 1]) })
}

fn max(runs: &[Sample], get: fn(&Sample) -> f64) -> Option<f64> {
    runs.iter().map(get).reduce(f64::max)
}

/// The median over the rounds of a figure made from both jobs' run of that round.
fn median_of_rounds(ours: &[Sample], theirs: &[Sample], figure: fn(&Sample, &Sample) -> f64) -> Option<f64> {
    middle(ours.iter().zip(theirs).map(|(a, b)| figure(a, b)).collect())
}

/// The median over the rounds of ours against the better of two in the same round.
fn ratio_to_best(
    ours: &[Sample],
    peers: [&[Sample]; 2],
    get: fn(&Sample) -> f64,
    of_peer: fn(&Sample) -> f64,
) -> Option<f64> {
    let [a, b] = peers;
    middle(ours.iter().zip(a.iter().zip(b)).map(|(ours, (a, b))| get(ours) / of_peer(a).min(of_peer(b))).collect())
}

/// A figure of ours by one of somebody else.
pub fn ratio(bar: &'static str, what: String, limit: f64, value: Option<f64>) -> Bar {
    Bar {
        bar,
        what,
        limit: format!("{limit:.2} ×"),
        measured: value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.2} ×")),
        met: value.map(|value| value <= limit),
    }
}

fn most(bar: &'static str, what: String, limit: f64, unit: &str, value: Option<f64>) -> Bar {
    let shown = |value: f64| if unit == "s" { format!("{value:.2} {unit}") } else { format!("{value:.0} {unit}") };
    Bar {
        bar,
        what,
        limit: shown(limit),
        measured: value.map_or_else(|| "not measured".to_owned(), shown),
        met: value.map(|value| value <= limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_values() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(middle(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(middle(vec![f64::NAN]), None);
    }

    #[test]
    fn a_bar_is_met_at_its_limit_and_unknown_without_a_figure() {
        assert_eq!(ratio("P4", String::new(), 1.1, Some(1.1)).met, Some(true));
        assert_eq!(ratio("P4", String::new(), 1.1, Some(1.2)).met, Some(false));
        assert_eq!(most("P2", String::new(), 0.5, "s", None).met, None);
        assert_eq!(most("P2", String::new(), 0.5, "s", Some(0.456)).measured, "0.46 s");
    }
}
