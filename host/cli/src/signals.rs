//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop at the next safe point, a later one ends the process.
//!
//! Signals that come together are one: a terminal and a supervisor often pass on the same Ctrl-C. The one that ends the process still answers, with
//! words that were laid out before ([`set_last_words`]), unless the run's own report is on its way out.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::exit_code::INTERRUPTED;

/// Signals within so long of the first are the same wish.
const TOGETHER_MS: i64 = 500;

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
static FIRST_MS: AtomicI64 = AtomicI64::new(0);
static LAST_WORDS: OnceLock<LastWords> = OnceLock::new();
/// Someone writes the answer: the run its report, or the handler the last words.
static ANSWERED: AtomicBool = AtomicBool::new(false);
/// A signal already met someone at writing.
static IMPATIENT: AtomicBool = AtomicBool::new(false);

/// What a process says when a signal ends it at once.
struct LastWords {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// The flag that a first signal sets. Installs the handlers at its first call.
pub fn stop_flag() -> Arc<AtomicBool> {
    let flag = STOP.get_or_init(|| Arc::new(AtomicBool::new(false)));
    install();
    Arc::clone(flag)
}

/// Lays out what is said when a signal ends the process at once. The first call counts.
pub fn set_last_words(stdout: String, stderr: String) {
    let _ = LAST_WORDS.set(LastWords { stdout: stdout.into_bytes(), stderr: stderr.into_bytes() });
}

/// Takes the right to answer on stdout. When a signal was faster, it ends the process, and this does not return.
pub fn answer() {
    while ANSWERED.swap(true, Ordering::SeqCst) {
        std::thread::sleep(Duration::from_secs(1));
    }
}

extern "C" fn on_signal(_signal: libc::c_int) {
    // Only what is safe in a handler: atomics, `clock_gettime`, `write` and `_exit`.
    let Some(flag) = STOP.get() else { exit() };
    if !flag.swap(true, Ordering::SeqCst) {
        FIRST_MS.store(now_ms(), Ordering::SeqCst);
        return;
    }
    if now_ms().saturating_sub(FIRST_MS.load(Ordering::SeqCst)) < TOGETHER_MS {
        return;
    }
    if ANSWERED.swap(true, Ordering::SeqCst) {
        // A report that is being written ends the run by itself. Who cannot wait for its reader says so once more.
        if IMPATIENT.swap(true, Ordering::SeqCst) {
            exit();
        }
        return;
    }
    IMPATIENT.store(true, Ordering::SeqCst);
    if let Some(words) = LAST_WORDS.get() {
        write(libc::STDERR_FILENO, &words.stderr);
        write(libc::STDOUT_FILENO, &words.stdout);
    }
    exit();
}

fn exit() -> ! {
    // SAFETY: `_exit` is async-signal-safe and does not return.
    unsafe { libc::_exit(i32::from(INTERRUPTED)) }
}

fn now_ms() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: async-signal-safe; the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000)
}

fn write(file: libc::c_int, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: async-signal-safe; the pointer and length are those of a live slice.
        let written = unsafe { libc::write(file, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
            _ => return,
        }
    }
}

fn install() {
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing that is not async-signal-safe; a zeroed `sigaction` with the handler set is a valid one.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action);
            if signal == libc::SIGHUP && action.sa_sigaction == libc::SIG_IGN {
                // `nohup` asked for a run that outlives its terminal.
                continue;
            }
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// A broken pipe ends the process quietly, as for other tools: `lakehost query … | head`.
pub fn default_broken_pipe() {
    // SAFETY: restores the default disposition before any thread starts.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
