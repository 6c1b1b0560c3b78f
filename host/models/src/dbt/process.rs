//! A child process in a group of its own, read line by line, which ends when it is asked to.

use std::convert::Infallible;
use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at the flag that stops it.
const LOOK: Duration = Duration::from_millis(100);
/// From SIGINT, on which dbt cancels its statements, to SIGKILL.
const GRACE: Duration = Duration::from_secs(15);
/// How long the pipes of a process that ended are read on: a grandchild may hold them.
const DRAIN: Duration = Duration::from_secs(2);
/// So much of the end of its standard error is kept.
const KEPT_BYTES: usize = 16 << 10;
/// No line of an answer is longer; the rest of one that is gets cut off.
const LINE_BYTES: u64 = 16 << 20;

/// How a child ended.
pub(super) struct Ended {
    pub status: ExitStatus,
    /// The end of what it said on standard error.
    pub stderr: String,
    /// It was told to stop.
    pub stopped: bool,
}

impl Ended {
    /// Why it failed, in one text.
    pub fn complaint(&self) -> String {
        let said = self.stderr.trim();
        match (self.status.signal(), said.is_empty()) {
            (Some(signal), _) => format!("it was ended by signal {signal}: {said}"),
            (None, false) => said.to_owned(),
            (None, true) => format!("it ended with exit code {}", self.status.code().unwrap_or(-1)),
        }
    }
}

/// A child at work.
pub(super) struct Running {
    child: Child,
    lines: Receiver<String>,
    complaint: Option<JoinHandle<String>>,
    stopping: Option<Instant>,
    /// What it ended with, once it has.
    status: Option<(ExitStatus, Instant)>,
    stderr: String,
}

impl Running {
    /// Starts a command that is not asked anything.
    fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null());
        Self::spawn(command)
    }

    /// Starts a command that reads what it is asked.
    pub fn start_with_input(mut command: Command) -> io::Result<(Self, ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut running = Self::spawn(command)?;
        let input = running.child.stdin.take().ok_or_else(|| io::Error::other("it cannot be asked anything"))?;
        Ok((running, input))
    }

    fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        end_with_parent(&mut command);
        let mut child = command.spawn()?;
        let (sender, lines) = mpsc::channel::<String>();
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("its standard output cannot be read"))?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("its standard error cannot be read"))?;
        // Neither is joined: a grandchild that keeps a pipe open would keep us waiting.
        std::thread::spawn(move || send_lines(stdout, &sender));
        let complaint = Some(std::thread::spawn(move || tail(stderr)));
        Ok(Self { child, lines, complaint, stopping: None, status: None, stderr: String::new() })
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Hands its lines on until one breaks off, or until it ended. It is told to stop when `stop` says so.
    pub fn listen<T>(
        &mut self,
        stop: &AtomicBool,
        line: &mut dyn FnMut(&str) -> ControlFlow<T>,
    ) -> io::Result<ControlFlow<T, Ended>> {
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(text) => {
                    if let ControlFlow::Break(found) = line(&text) {
                        return Ok(ControlFlow::Break(found));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Its output is closed; it may go on for a moment.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK / 10),
            }
            if self.status.is_none() {
                self.status = self.child.try_wait()?.map(|status| (status, Instant::now()));
            }
            if let Some((status, since)) = self.status {
                let mut is_more = false;
                while let Ok(text) = self.lines.try_recv() {
                    is_more = true;
                    if let ControlFlow::Break(found) = line(&text) {
                        return Ok(ControlFlow::Break(found));
                    }
                }
                let closed = !is_more && matches!(self.lines.try_recv(), Err(mpsc::TryRecvError::Disconnected));
                if closed || (!is_more && since.elapsed() > DRAIN) {
                    return Ok(ControlFlow::Continue(self.ended(status, closed)));
                }
            }
            match self.stopping {
                None if stop.load(Ordering::Relaxed) => {
                    signal(&self.child, libc::SIGINT);
                    self.stopping = Some(Instant::now());
                }
                Some(since) if since.elapsed() > GRACE => signal(&self.child, libc::SIGKILL),
                _ => {}
            }
        }
    }

    fn ended(&mut self, status: ExitStatus, closed: bool) -> Ended {
        if self.is_stopping() || !closed {
            signal(&self.child, libc::SIGKILL);
        }
        if let Some(complaint) = self.complaint.take() {
            self.stderr = joined(complaint);
        }
        Ended { status, stderr: self.stderr.clone(), stopped: self.is_stopping() }
    }

    /// Waits for one that was left nothing to read, for as long as one that is told to stop has.
    pub fn end(&mut self) {
        let since = Instant::now();
        while self.status.is_none() {
            match self.child.try_wait() {
                Ok(None) if since.elapsed() < GRACE => std::thread::sleep(LOOK / 10),
                Ok(Some(status)) => self.status = Some((status, Instant::now())),
                Ok(None) | Err(_) => {
                    signal(&self.child, libc::SIGKILL);
                    let _ = self.child.wait();
                    return;
                }
            }
        }
        if self.is_stopping() {
            signal(&self.child, libc::SIGKILL);
        }
    }
}

fn send_lines(from: impl Read, lines: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut bytes) {
            Ok(count) if count > 0 => {
                if lines.send(String::from_utf8_lossy(&bytes).trim_end().to_owned()).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Runs a command to its end. `line` gets each line of its standard output.
fn run(command: Command, stop: &AtomicBool, line: &mut dyn FnMut(&str)) -> io::Result<Ended> {
    let mut each = |text: &str| {
        line(text);
        ControlFlow::<Infallible>::Continue(())
    };
    match Running::start(command)?.listen(stop, &mut each)? {
        ControlFlow::Continue(ended) => Ok(ended),
        ControlFlow::Break(never) => match never {},
    }
}

/// Runs a command whose output is an answer.
pub(super) fn answer(command: Command, stop: &AtomicBool) -> io::Result<(Ended, String)> {
    let mut text = String::new();
    let ended = run(command, stop, &mut |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    Ok((ended, text))
}

/// To the child and all that it started.
fn signal(child: &Child, signal: libc::c_int) {
    if let Ok(id) = libc::pid_t::try_from(child.id()) {
        // SAFETY: `killpg` takes two numbers. The group is the child's own, and its leader has not been waited for by anybody else.
        unsafe { libc::killpg(id, signal) };
    }
}

/// The child is told to stop when this process dies, however it dies: nobody would read what it says. It listens even where this process was
/// started without an ear for Ctrl-C, as shells start what runs in the background.
fn end_with_parent(command: &mut Command) {
    // SAFETY: `signal` is a system call without memory of ours, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::signal(libc::SIGINT, libc::SIG_DFL) {
            libc::SIG_ERR => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    #[cfg(target_os = "linux")]
    // SAFETY: `prctl` is a system call without memory of ours, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGINT) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

fn tail(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if kept.len() > 2 * KEPT_BYTES {
            kept.drain(..kept.len() - KEPT_BYTES);
        }
    }
    let from = kept.len().saturating_sub(KEPT_BYTES);
    String::from_utf8_lossy(kept.get(from..).unwrap_or_default()).into_owned()
}

/// What a reader has, unless something still holds its pipe.
fn joined(reader: JoinHandle<String>) -> String {
    let since = Instant::now();
    while !reader.is_finished() {
        if since.elapsed() > DRAIN {
            return String::new();
        }
        std::thread::sleep(LOOK / 10);
    }
    reader.join().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_come_as_they_are_said() {
        let mut lines = Vec::new();
        let ended = run(shell("echo a; echo b >&2; printf c; exit 3"), &AtomicBool::new(false), &mut |line| {
            lines.push(line.to_owned());
        })
        .unwrap();
        assert_eq!((lines, ended.status.code(), ended.stopped), (vec!["a".to_owned(), "c".to_owned()], Some(3), false));
        assert_eq!(ended.complaint(), "b");
    }

    #[test]
    fn a_stop_ends_the_whole_group() {
        let stop = AtomicBool::new(false);
        let mut group = 0;
        let since = Instant::now();
        let ended = run(shell("echo $$; sleep 60 & wait; sleep 60"), &stop, &mut |line| {
            group = line.parse().unwrap();
            stop.store(true, Ordering::Relaxed);
        })
        .unwrap();
        assert!(ended.stopped && since.elapsed() < GRACE, "{:?}", since.elapsed());
        // Those that are dead and not yet waited for by init still count; they are gone in a moment.
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            // SAFETY: signal 0 only asks.
            unsafe { libc::killpg(group, 0) != 0 }
        });
        assert!(gone, "something of group {group} lives on");
    }

    #[test]
    fn a_grandchild_that_holds_the_pipes_keeps_nobody_waiting() {
        let since = Instant::now();
        let ended = run(shell("setsid sleep 30 & echo done"), &AtomicBool::new(false), &mut |_| {}).unwrap();
        assert!(ended.status.success());
        assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    }
}
