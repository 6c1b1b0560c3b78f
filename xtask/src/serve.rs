//! A folder over HTTP: for the demo and the bench, which serve from a process of their own so that nobody else's memory and CPU counts it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use lakehost_server::{Options, Server};

use crate::args::Args;

/// Serves the folder until standard input ends.
pub fn run(mut args: Args) -> Result<()> {
    let folder = args.word().context("which folder? `cargo xtask serve DIR`")?;
    args.finish()?;
    // A month that is not there is answered as the TLC's own servers answer.
    let options = Options { missing_is_forbidden_xml: true, ..Options::default() };
    let server = Server::start_with(&folder, options).with_context(|| format!("cannot serve {folder}"))?;
    println!("{}", server.url());
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(())
}

/// A server in a process of its own; it ends with this value.
pub struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    /// Starts serving.
    pub fn start(folder: &Path) -> Result<Self> {
        // Not `current_exe`: a build of the whole workspace may have put another xtask in the place of this one.
        let itself = Path::new("/proc/self/exe");
        let program = if itself.exists() { itself.to_owned() } else { std::env::current_exe()? };
        let mut child = Command::new(program)
            .arg("serve")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the file server")?;
        let mut url = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut url)?;
        }
        let url = url.trim().trim_end_matches('/').to_owned();
        if !url.starts_with("http://") {
            child.kill()?;
            bail!("the file server did not start");
        }
        Ok(Self { child, url: format!("{url}/") })
    }

    /// `http://127.0.0.1:PORT/`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
