//! Passwords, tokens and keys of `lakehost.toml`: the file says where one comes from and never holds it.
//!
//! `{ env = "NAME" }` is a variable of the environment, `{ file = "path" }` the text of a file without the line's end, `{ command = ["pass", "show",
//! "db"] }` what a program prints. Each is looked up when it is needed and goes to the library that needs it, and nowhere else.

use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lakehost_pipeline::Secret;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// Nothing longer than this is a password, token or key.
const LIMIT_BYTES: u64 = 64 << 10;
/// A program that answers a secret may ask somebody; not for ever.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// A variable of the environment.
    Env(String),
    /// A file, relative to the one that names it.
    File(PathBuf),
    /// A program with its arguments; no shell reads them.
    Command(Vec<String>),
}

/// Said of a text where a reference belongs. The text itself is in no message.
const LITERAL: &str = "a secret does not stand in the file: write { env = \"NAME\" }, { file = \"PATH\" } or { command = [\"PROGRAM\", \"ARGUMENT\"] }";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reference)
    }
}

struct Reference;

/// Every kind of value but a table is refused without being repeated.
macro_rules! refuse {
    ($($name:ident: $kind:ty),*) => {
        $(fn $name<E: de::Error>(self, _: $kind) -> Result<Self::Value, E> {
            Err(E::custom(LITERAL))
        })*
    };
}

impl<'de> Visitor<'de> for Reference {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LITERAL)
    }

    refuse!(visit_str: &str, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_bool: bool);

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(de::Error::custom(LITERAL))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match Written::deserialize(MapAccessDeserializer::new(map))? {
            Written { env: Some(name), file: None, command: None } => Ok(SecretRef::Env(name)),
            Written { env: None, file: Some(path), command: None } => Ok(SecretRef::File(path)),
            Written { env: None, file: None, command: Some(words) } if !words.is_empty() => {
                Ok(SecretRef::Command(words))
            }
            _ => Err(de::Error::custom("a secret comes from one place: env, file or command")),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {}", name.escape_debug()),
            Self::File(path) => write!(f, "the file {}", path.display()),
            // Arguments may hold what is not for everybody.
            Self::Command(words) => {
                write!(
                    f,
                    "the command {}",
                    words.first().map(|word| word.escape_debug().to_string()).unwrap_or_default()
                )
            }
        }
    }
}

impl SecretRef {
    /// Whether it may be another one while a command works: a variable of this process stays as it is.
    pub fn may_change(&self) -> bool {
        !matches!(self, Self::Env(_))
    }

    /// The secret; else why not. Relative paths start in `folder`.
    pub fn resolve(&self, folder: &Path) -> Result<Secret, String> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => format!("{self} is not set"),
                std::env::VarError::NotUnicode(_) => format!("{self} is no text"),
            })?,
            Self::File(path) => {
                let file = std::fs::File::open(folder.join(path)).map_err(|error| format!("{self}: {error}"))?;
                limited(file, self)?
            }
            Self::Command(words) => printed(words, folder, self)?,
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(format!("{self} is empty"));
        }
        Ok(Secret::new(text))
    }
}

fn limited(reader: impl std::io::Read, from: &SecretRef) -> Result<String, String> {
    let mut text = String::new();
    match reader.take(LIMIT_BYTES + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > LIMIT_BYTES => Err(format!("{from} holds more than 64 KiB")),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(format!("{from} is no text")),
        Err(error) => Err(format!("{from}: {error}")),
    }
}

/// What a program prints. What it says on stderr goes to the terminal: it may ask for a passphrase there.
fn printed(words: &[String], folder: &Path, from: &SecretRef) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or_else(|| format!("{from} names no program"))?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{from} does not start: {error}"))?;
    let stdout = child.stdout.take();
    let of = from.clone();
    let reader = std::thread::spawn(move || stdout.map_or(Ok(String::new()), |stdout| limited(stdout, &of)));
    let ended = wait(&mut child).map_err(|error| format!("{from}: {error}"))?;
    let Some(status) = ended else {
        return Err(format!("{from} gave no answer within {} seconds", COMMAND_TIMEOUT.as_secs()));
    };
    let text = reader.join().unwrap_or_else(|_| Err(format!("{from} cannot be read")))?;
    if status.success() { Ok(text) } else { Err(format!("{from} failed: {status}")) }
}

/// How a program ended; `None`: it did not in time, and was ended.
fn wait(child: &mut Child) -> std::io::Result<Option<std::process::ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() > COMMAND_TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        password: SecretRef,
    }

    fn parse(value: &str) -> Result<SecretRef, String> {
        let parsed = toml::from_str::<Holder>(&format!("password = {value}"));
        parsed.map(|holder| holder.password).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_secret_is_named_and_never_written() {
        assert_eq!(parse("{ env = \"PG\" }"), Ok(SecretRef::Env("PG".into())));
        assert_eq!(parse("{ file = \"a/b\" }"), Ok(SecretRef::File("a/b".into())));
        assert_eq!(parse("{ command = [\"pass\", \"x\"] }"), Ok(SecretRef::Command(vec!["pass".into(), "x".into()])));
        for literal in ["\"hunter2\"", "815", "8.15", "true", "[\"hunter2\"]"] {
            assert_eq!(parse(literal), Err(LITERAL.to_owned()), "{literal}");
        }
        for wrong in ["{}", "{ env = \"A\", file = \"b\" }", "{ command = [] }"] {
            assert!(parse(wrong).unwrap_err().contains("one place"), "{wrong}");
        }
        assert!(parse("{ value = \"hunter2\" }").unwrap_err().contains("unknown field `value`"));
    }

    #[test]
    fn each_place_is_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hunter2\r\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::write(folder.path().join("long"), "x".repeat(70_000)).unwrap();
        std::fs::write(folder.path().join("bytes"), [0xff, 0xfe]).unwrap();
        let get = |reference: SecretRef| reference.resolve(folder.path()).map(|secret| secret.expose().to_owned());
        let command = |words: &[&str]| SecretRef::Command(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(get(SecretRef::File("key".into())).as_deref(), Ok("hunter2"));
        assert_eq!(get(command(&["cat", "key"])).as_deref(), Ok("hunter2"));
        assert_eq!(get(command(&["sh", "-c", "printf 'a b'; echo no >&2"])).as_deref(), Ok("a b"));
        for (wrong, said) in [
            (SecretRef::File("empty".into()), "the file empty is empty"),
            (SecretRef::File("long".into()), "the file long holds more than 64 KiB"),
            (SecretRef::File("bytes".into()), "the file bytes is no text"),
            (
                SecretRef::Env("LAKEHOST_NO_SUCH_SECRET".into()),
                "the environment variable LAKEHOST_NO_SUCH_SECRET is not set",
            ),
            (command(&["false", "hunter2"]), "the command false failed: exit status: 1"),
        ] {
            assert_eq!(get(wrong), Err(said.to_owned()));
        }
        assert!(get(SecretRef::File("none".into())).unwrap_err().starts_with("the file none: No such file"));
        assert!(get(command(&["no-such-program-here"])).unwrap_err().contains("does not start"));
    }
}
