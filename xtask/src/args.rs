//! The flags of a verb. Small on purpose: a chore has three flags at most.

use std::str::FromStr;

use anyhow::{Result, anyhow, bail};

/// Words after the verb, taken away as they are understood.
pub struct Args {
    words: Vec<String>,
    passed_on: Vec<String>,
}

impl Args {
    /// Everything behind a `--` is for somebody else: see [`Args::passed_on`].
    pub fn new(mut words: Vec<String>) -> Self {
        let passed_on = match words.iter().position(|word| word == "--") {
            Some(at) => words.split_off(at).into_iter().skip(1).collect(),
            None => Vec::new(),
        };
        Self { words, passed_on }
    }

    /// Whether a flag without a value is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// The value of `--name VALUE` or `--name=VALUE`.
    pub fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let prefix = format!("{name}=");
        let Some(at) = self.words.iter().position(|word| word == name || word.starts_with(&prefix)) else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        let text = match word.strip_prefix(&prefix) {
            Some(text) => text.to_owned(),
            None if at < self.words.len() => self.words.remove(at),
            None => bail!("{name} wants a value"),
        };
        text.parse().map(Some).map_err(|_| anyhow!("{name} does not take `{text}`"))
    }

    /// The next word that is not a flag.
    pub fn word(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with('-'))?;
        Some(self.words.remove(at))
    }

    /// What stood behind `--`.
    pub fn passed_on(&self) -> &[String] {
        &self.passed_on
    }

    /// Fails when something was not understood.
    pub fn finish(&self) -> Result<()> {
        match self.words.first() {
            Some(word) => bail!("this verb does not know `{word}`"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn args(line: &str) -> Args {
        Args::new(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn flags_values_and_words_in_any_order() {
        let mut args = args("--full --rounds 3 folder --only=P1,P6 -- kill --exact");
        assert!(args.flag("--full"));
        assert_eq!(args.value::<u32>("--rounds").expect("a number"), Some(3));
        assert_eq!(args.value::<String>("--only").expect("text"), Some("P1,P6".to_owned()));
        assert_eq!(args.word().as_deref(), Some("folder"));
        assert_eq!(args.passed_on(), ["kill", "--exact"]);
        args.finish().expect("nothing left");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(args("--fulll").finish().expect_err("unknown").to_string().contains("--fulll"));
        assert!(args("--rounds").value::<u32>("--rounds").is_err());
        assert!(args("--rounds many").value::<u32>("--rounds").expect_err("not a number").to_string().contains("many"));
    }
}
