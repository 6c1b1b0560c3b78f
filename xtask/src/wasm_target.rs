//! Makes `cargo build --target wasm32-wasip2` work, on machines that reach rustup's server and on Debian machines that do not.
//!
//! 1. It works already: a program that uses std compiles and links. Nothing else is looked at.
//! 2. `rustup target add`, without retries and for two minutes at most.
//! 3. `wasm_target_debian.sh`: std from Debian's `rust-src` of the same rustc version, the C library from `wasi-libc`, both laid out in the
//!    sysroot as rustup would.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, Output};
use crate::workspace::Workspace;

/// What components are built for.
pub const TARGET: &str = "wasm32-wasip2";

const DEBIAN: &str = include_str!("wasm_target_debian.sh");
const PROBE: &str =
    r#"fn main() { let m: std::collections::BTreeMap<u8, String> = Default::default(); println!("{m:?}"); }"#;

/// Makes the target work and says how it came to.
pub fn ensure(workspace: &Workspace, output: &Output) -> Result<&'static str> {
    let scratch = workspace.scratch("wasm-target")?;
    if works(&scratch)? {
        return Ok("already works");
    }
    if std::env::var_os("LAKEHOST_SKIP_RUSTUP").is_none() {
        match rustup(output) {
            Ok(()) if works(&scratch)? => return Ok("installed by rustup"),
            Ok(()) => output.say("rustup added the target, and it does not link")?,
            Err(error) => output.say(&format!("rustup cannot add the target here: {error:#}"))?,
        }
    }
    let script = scratch.join("debian.sh");
    std::fs::write(&script, DEBIAN).with_context(|| format!("cannot write {}", script.display()))?;
    let mut command = Command::new("bash");
    command
        .arg(&script)
        .arg(TARGET)
        .env("RUSTC", rustc())
        .env("CARGO", std::env::var_os("CARGO").unwrap_or("cargo".into()));
    process::run(&mut command, output)
        .with_context(|| format!("{TARGET} cannot be installed; by hand: rustup target add {TARGET}"))?;
    if !works(&scratch)? {
        bail!("{TARGET} is installed, and a program for it still does not link");
    }
    Ok("built from Debian's rust-src and wasi-libc")
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Whether a program that uses std compiles and links.
fn works(scratch: &Path) -> Result<bool> {
    let source = scratch.join("probe.rs");
    std::fs::write(&source, PROBE).with_context(|| format!("cannot write {}", source.display()))?;
    let output = Command::new(rustc())
        .args(["--edition", "2024", "--target", TARGET, "-o"])
        .arg(scratch.join("probe.wasm"))
        .arg(&source)
        .output()
        .context("cannot start rustc")?;
    Ok(output.status.success())
}

/// Adds the target to the very toolchain that `rustc` belongs to.
fn rustup(output: &Output) -> Result<()> {
    let sysroot = process::stdout_of(Command::new(rustc()).args(["--print", "sysroot"]))?;
    let toolchain = Path::new(sysroot.trim()).file_name().context("rustc has no sysroot")?.to_owned();
    let mut command = Command::new("rustup");
    command.args(["target", "add", "--toolchain"]).arg(toolchain).arg(TARGET).env("RUSTUP_MAX_RETRIES", "0");
    process::run_within(&mut command, output, Duration::from_secs(120))
}
