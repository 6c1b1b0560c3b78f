//! Ctrl-C, SIGTERM and SIGHUP: the first asks the run to stop at the next safe point, the second ends the process.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// The flag that a first signal sets. Installs the handlers at its first call.
pub fn stop_flag() -> Arc<AtomicBool> {
    let flag = STOP.get_or_init(|| Arc::new(AtomicBool::new(false)));
    install();
    Arc::clone(flag)
}

extern "C" fn on_signal(_signal: libc::c_int) {
    // Only what is safe in a handler: an atomic swap, and _exit.
    match STOP.get() {
        Some(flag) if !flag.swap(true, Ordering::SeqCst) => {}
        // SAFETY: `_exit` is async-signal-safe and does not return.
        _ => unsafe { libc::_exit(i32::from(crate::exit_code::INTERRUPTED)) },
    }
}

fn install() {
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler touches nothing but an initialised atomic; a zeroed `sigaction` with the handler set is a valid one.
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
