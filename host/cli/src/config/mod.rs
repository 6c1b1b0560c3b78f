//! Configuration: the file as it is written (`file`), what it means together with flags and environment (`resolve`), its published JSON Schema
//! (`schema`), values of the wrong type (`types`), the settings of plugins (`values`), and places for tables (`profile`, `secret`, `reach`, `trino`, `place`).

pub mod checks;
pub mod environment;
pub mod file;
pub mod maintenance;
pub mod partition;
pub mod place;
pub mod profile;
pub mod reach;
pub mod resolve;
pub mod schema;
pub mod secret;
pub mod sort;
pub mod trino;
pub mod types;
pub mod values;
pub mod windows;

/// The known name that looks most like `wanted`, when one does.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Advice on a name that is not known: the nearest, or all.
pub fn did_you_mean<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(name) = nearest(wanted, known.clone()) {
        return Some(format!("did you mean `{name}`?"));
    }
    let all: Vec<&str> = known.into_iter().collect();
    (!all.is_empty()).then(|| format!("there are: {}", all.join(", ")))
}
