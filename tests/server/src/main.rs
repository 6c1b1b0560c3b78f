//! `lakehost-server FOLDER [--port N] [--missing-is-forbidden] [--bytes-per-second N]`: serves a folder on loopback and prints its URL.

use std::io::Write;

use anyhow::{Context, Result, bail};
use lakehost_server::{Options, Server};

fn main() -> Result<()> {
    let mut folder = None;
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            let value = arguments.next().with_context(|| format!("{argument} needs a number"))?;
            value.parse().with_context(|| format!("{argument} needs a number, not {value:?}"))
        };
        match argument.as_str() {
            "--port" => options.port = u16::try_from(number()?).context("a port is at most 65535")?,
            "--bytes-per-second" => options.bytes_per_second = Some(number()?.max(1)),
            "--missing-is-forbidden" => options.missing_is_forbidden_xml = true,
            flag if flag.starts_with('-') => bail!("unknown flag {flag}"),
            path if folder.is_none() => folder = Some(path.to_owned()),
            other => bail!("one folder is served, so what is {other}?"),
        }
    }
    let folder =
        folder.context("usage: lakehost-server FOLDER [--port N] [--missing-is-forbidden] [--bytes-per-second N]")?;
    let server = Server::start_with(&folder, options).with_context(|| format!("cannot serve {folder}"))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", server.url())?;
    stdout.flush()?;
    server.wait();
    Ok(())
}
