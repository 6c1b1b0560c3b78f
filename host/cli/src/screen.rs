//! Standard error while a run goes on: the progress line and messages share it, and a message never lands in the middle of the line.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;

/// What is on the screen now.
struct Screen {
    /// The progress line, while there is one.
    line: Option<ProgressBar>,
    /// The window under way, for messages of parts that do not know it.
    window: Option<String>,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen { line: None, window: None });

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a message above the progress line, if there is one. A terminal that went away is no error.
pub fn say(text: &str) {
    let line = screen().line.clone();
    let write = || {
        let _ = std::io::stderr().write_all(text.as_bytes());
    };
    match line {
        Some(line) => line.suspend(write),
        None => write(),
    }
}

/// From now on this line is on the screen; none: it is gone.
pub fn set_line(line: Option<ProgressBar>) {
    screen().line = line;
}

/// The line on the screen.
pub fn line() -> Option<ProgressBar> {
    screen().line.clone()
}

/// From now on messages are of this window.
pub fn set_window(window: Option<String>) {
    screen().window = window;
}

/// The window under way.
pub fn window() -> Option<String> {
    screen().window.clone()
}

/// Columns of the terminal behind stderr.
pub fn columns() -> Option<usize> {
    columns_of(libc::STDERR_FILENO)
}

/// Columns of the terminal behind stdout.
pub fn stdout_columns() -> Option<usize> {
    columns_of(libc::STDOUT_FILENO)
}

fn columns_of(file: libc::c_int) -> Option<usize> {
    // SAFETY: a zeroed `winsize` is valid, and the call fills it or fails.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        (libc::ioctl(file, libc::TIOCGWINSZ, &mut size) == 0).then_some(size)
    }?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
