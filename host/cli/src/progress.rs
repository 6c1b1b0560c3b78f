//! What a person sees while a run goes on, and the clock behind the report.
//!
//! On a terminal one line is redrawn (`progress_line.rs` lays it out). Elsewhere plain lines come every few seconds. Stages overlap and run on
//! several threads: a stage's wall time is the time in which at least one thread was in it, its CPU time is that of all threads.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lakehost_columnar::{Mark, Observer, Stage};
use lakehost_fetch::Ledger;
use lakehost_pipeline::Meter;

use crate::progress_line::Position;
use crate::{memory, screen};

/// All stages, in the order of the flow.
const STAGES: [Stage; 8] = [
    Stage::Plan,
    Stage::Download,
    Stage::Decode,
    Stage::Clean,
    Stage::Encode,
    Stage::Upload,
    Stage::Verify,
    Stage::Commit,
];
/// How often the terminal line is redrawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a plain line is printed.
const PLAIN: Duration = Duration::from_secs(5);
/// Width of a terminal that does not tell its own.
const COLUMNS: usize = 80;

/// Watches a run: clock, progress, and the flag that stops it.
pub struct Progress {
    started: Instant,
    stop: Arc<AtomicBool>,
    stages: [Mutex<StageClock>; STAGES.len()],
    rows: AtomicU64,
    bytes: AtomicU64,
    window: Mutex<WindowClock>,
    windows: usize,
    /// What came in, over all windows.
    ledger: Arc<Ledger>,
}

#[derive(Default)]
struct StageClock {
    /// Threads that are in it.
    inside: usize,
    /// When the first of them entered.
    since_ns: u64,
    total: Mark,
}

#[derive(Default)]
struct WindowClock {
    label: String,
    bytes: Option<u64>,
    /// Windows that were begun.
    begun: usize,
    began_ns: u64,
    began_cpu: Duration,
    /// Bytes that had come in when it began.
    began_received: u64,
    /// Process CPU seconds of each window that ended.
    cpu_seconds: Vec<f64>,
}

impl Progress {
    /// `windows`: how many the run has. `ledger`: where downloads are counted.
    pub fn new(windows: usize, stop: Arc<AtomicBool>, ledger: Arc<Ledger>) -> Self {
        Self {
            started: Instant::now(),
            stop,
            stages: Default::default(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            window: Mutex::default(),
            windows,
            ledger,
        }
    }

    /// Does some work while a thread of its own shows how far it is; the screen is clear when it ends.
    pub fn shown_while<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let show = || if std::io::stderr().is_terminal() { self.show_line(&done) } else { self.show_plain(&done) };
            let shower = std::thread::Builder::new().name("progress".to_owned()).spawn_scoped(scope, show);
            // A machine without a thread to spare gets its rows loaded without a word.
            let _end = End { done: &done, shower: shower.ok().map(|shower| shower.thread().clone()) };
            work()
        })
    }

    fn show_line(&self, done: &AtomicBool) {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        screen::set_line(Some(bar.clone()));
        let mut frame = 0;
        // The first look is at a run that has just begun.
        while wait(done, REDRAW) {
            // One column stays free: some terminals break the line after the last.
            let columns = screen::columns().unwrap_or(COLUMNS).saturating_sub(1);
            bar.set_message(self.position().line(frame, columns));
            bar.tick();
            frame = frame.wrapping_add(1);
        }
        screen::set_line(None);
        bar.finish_and_clear();
    }

    fn show_plain(&self, done: &AtomicBool) {
        while wait(done, PLAIN) {
            let _ = writeln!(std::io::stderr(), "{}", self.position().plain());
        }
    }

    /// CPU seconds of the whole process, window by window.
    pub fn window_cpu_seconds(&self) -> Vec<f64> {
        locked(&self.window).cpu_seconds.clone()
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn stage(&self, stage: Stage) -> Option<MutexGuard<'_, StageClock>> {
        let index = STAGES.iter().position(|known| *known == stage)?;
        self.stages.get(index).map(locked)
    }

    /// Where the run is now.
    fn position(&self) -> Position {
        let now_ns = self.now_ns();
        let inside = STAGES.iter().zip(&self.stages).rev().find(|(_, clock)| locked(clock).inside > 0);
        let (rows, written_bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let received = self.ledger.received_bytes();
        let window = locked(&self.window);
        let received = received.saturating_sub(window.began_received);
        let stage = stage_shown(inside.map(|(stage, _)| *stage), received, window.bytes);
        let share = window.share(received, written_bytes);
        Position {
            window: match self.windows {
                0 | 1 => window.label.clone(),
                windows => format!("{} ({}/{windows})", window.label, window.begun),
            },
            stage: word(stage),
            share: window.run_share(self.windows, share),
            received_bytes: (stage == Stage::Download).then_some(received),
            total_bytes: window.bytes,
            rows,
            written_bytes,
            elapsed_seconds: now_ns.saturating_sub(window.began_ns) / 1_000_000_000,
            // While bytes come in, they are what is waited for: the rest keeps up with them.
            left_seconds: window.left_seconds(
                self.windows,
                now_ns,
                window.received_share(received).filter(|came| *came < 1.0).or(share),
            ),
        }
    }
}

/// Ends the thread that shows, also when the work panics.
struct End<'a> {
    done: &'a AtomicBool,
    shower: Option<Thread>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        if let Some(shower) = &self.shower {
            shower.unpark();
        }
    }
}

/// Waits for the next look; `false`: there is none, the work is done.
fn wait(done: &AtomicBool, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    loop {
        if done.load(Ordering::SeqCst) {
            return false;
        }
        match until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            Some(left) => std::thread::park_timeout(left),
            None => return true,
        }
    }
}

/// What a run is at, to people: while announced bytes have not all come, whoever is in a later stage mostly waits for them there, and so does the
/// source that opens them.
fn stage_shown(inside: Option<Stage>, received: u64, total: Option<u64>) -> Stage {
    let missing = total.is_some_and(|total| received < total);
    match inside {
        Some(Stage::Plan) => Stage::Plan,
        Some(_) if missing && received > 0 => Stage::Download,
        Some(stage) => stage,
        None if missing => Stage::Download,
        None => Stage::Plan,
    }
}

impl WindowClock {
    /// How much of the window is done: what came in and what went out weigh the same, because they overlap.
    fn share(&self, received: u64, written: u64) -> Option<f64> {
        let total = self.bytes?.max(1);
        Some((received.min(total) as f64 + written.min(total) as f64) / (2.0 * total as f64))
    }

    /// How much of the window's source came in.
    fn received_share(&self, received: u64) -> Option<f64> {
        Some(received as f64 / self.bytes?.max(1) as f64)
    }

    /// How much of the run is done, when that can be told.
    fn run_share(&self, windows: usize, share: Option<f64>) -> Option<f64> {
        match share {
            None if windows < 2 => None,
            share => Some((self.cpu_seconds.len() as f64 + share.unwrap_or_default()) / windows.max(1) as f64),
        }
    }

    /// Time left: by the windows that are done, else by the bytes of the one at hand.
    fn left_seconds(&self, windows: usize, now_ns: u64, share: Option<f64>) -> Option<u64> {
        let done = self.cpu_seconds.len();
        let elapsed_ns = now_ns.saturating_sub(self.began_ns) as f64;
        let left_ns = if done > 0 && windows > done {
            let per_window = self.began_ns as f64 / done as f64;
            per_window * (windows - done) as f64 - elapsed_ns
        } else {
            let share = share.filter(|share| (0.03..1.0).contains(share))?;
            let window_ns = elapsed_ns / share;
            window_ns * (windows.saturating_sub(done).max(1) as f64) - elapsed_ns
        };
        Some((left_ns / 1e9).max(1.0).round() as u64)
    }
}

impl Observer for Progress {
    fn enter(&self, stage: Stage) -> Mark {
        let mark = Mark { wall_ns: self.now_ns(), cpu_ns: thread_cpu_ns() };
        if let Some(mut clock) = self.stage(stage) {
            if clock.inside == 0 {
                clock.since_ns = mark.wall_ns;
            }
            clock.inside += 1;
        }
        mark
    }

    fn leave(&self, stage: Stage, mark: Mark) {
        let (wall_ns, cpu_ns) = (self.now_ns(), thread_cpu_ns());
        if let Some(mut clock) = self.stage(stage) {
            clock.inside = clock.inside.saturating_sub(1);
            if clock.inside == 0 {
                clock.total.wall_ns += wall_ns.saturating_sub(clock.since_ns);
            }
            clock.total.cpu_ns += cpu_ns.saturating_sub(mark.cpu_ns);
        }
    }

    fn progress(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Meter for Progress {
    fn now_ms(&self) -> i64 {
        now_ms()
    }

    fn window_begins(&self, label: &str) {
        for stage in &self.stages {
            *locked(stage) = StageClock::default();
        }
        self.rows.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        let mut window = locked(&self.window);
        label.clone_into(&mut window.label);
        window.bytes = None;
        window.begun += 1;
        window.began_ns = self.now_ns();
        window.began_cpu = process_cpu();
        window.began_received = self.ledger.received_bytes();
        screen::set_window(Some(label.to_owned()));
    }

    fn window_holds(&self, bytes: u64) {
        locked(&self.window).bytes = Some(bytes);
    }

    fn window_ends(&self) -> (Vec<(Stage, Mark)>, u64) {
        let mut window = locked(&self.window);
        let cpu = process_cpu().saturating_sub(window.began_cpu);
        window.cpu_seconds.push(cpu.as_secs_f64());
        let marks = STAGES
            .iter()
            .zip(&self.stages)
            .map(|(stage, clock)| (*stage, locked(clock).total))
            .filter(|(_, mark)| *mark != Mark::default())
            .collect();
        memory::release_free();
        screen::set_window(None);
        (marks, self.now_ns().saturating_sub(window.began_ns))
    }

    fn peak_rss_bytes(&self) -> Option<u64> {
        memory::peak_rss_bytes()
    }
}

/// Milliseconds since 1970-01-01T00:00Z.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// CPU time of this process, all threads.
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn thread_cpu_ns() -> u64 {
    u64::try_from(clock(libc::CLOCK_THREAD_CPUTIME_ID).as_nanos()).unwrap_or(u64::MAX)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    let answered = unsafe { libc::clock_gettime(id, &mut time) } == 0;
    match (answered, u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
        (true, Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::ZERO,
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Plan => "plan",
        Stage::Download => "download",
        Stage::Decode => "decode",
        Stage::Clean => "clean",
        Stage::Encode => "encode",
        Stage::Upload => "upload",
        Stage::Verify => "verify",
        Stage::Commit => "commit",
    }
}

/// A lock that outlives a panic elsewhere: what it guards is a count at worst off by one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_threads_count_wall_once_and_cpu_each() {
        let progress = Progress::new(1, Arc::default(), Arc::default());
        progress.window_begins("2024-01");
        let first = progress.enter(Stage::Decode);
        let second = progress.enter(Stage::Decode);
        std::thread::sleep(Duration::from_millis(20));
        progress.leave(Stage::Decode, first);
        progress.leave(Stage::Decode, second);
        let (stages, total_ns) = progress.window_ends();
        assert_eq!(stages.len(), 1);
        let (stage, mark) = stages[0];
        assert_eq!(stage, Stage::Decode);
        assert!(mark.wall_ns >= 20_000_000 && mark.wall_ns <= total_ns, "{} of {total_ns}", mark.wall_ns);
        assert_eq!(progress.window_cpu_seconds().len(), 1);
    }

    #[test]
    fn a_window_starts_from_zero() {
        let progress = Progress::new(2, Arc::default(), Arc::default());
        progress.window_begins("a");
        let mark = progress.enter(Stage::Clean);
        progress.leave(Stage::Clean, mark);
        progress.progress(10, 20);
        progress.window_ends();
        progress.window_begins("b");
        assert_eq!(progress.rows.load(Ordering::Relaxed), 0);
        assert!(progress.window_ends().0.is_empty());
        let position = progress.position();
        assert_eq!((position.window.as_str(), position.share), ("b (2/2)", Some(1.0)));
    }

    #[test]
    fn time_left_is_told_when_it_can_be() {
        let second = 1_000_000_000;
        let done =
            WindowClock { begun: 3, began_ns: 20 * second, cpu_seconds: vec![1.0, 1.0], ..WindowClock::default() };
        assert_eq!(done.left_seconds(12, 25 * second, None), Some(95));
        let first = WindowClock { begun: 1, bytes: Some(100), ..WindowClock::default() };
        let left =
            |windows, received, written| first.left_seconds(windows, 10 * second, first.share(received, written));
        assert_eq!(first.received_share(25), Some(0.25));
        assert_eq!(left(1, 50, 50), Some(10), "as it is: what comes in goes out");
        assert_eq!(left(1, 100, 0), Some(10), "all of it came in first");
        assert_eq!(left(2, 50, 50), Some(30), "and a second window");
        assert_eq!(left(1, 1, 1), None);
        assert_eq!(WindowClock::default().left_seconds(1, second, None), None);
    }

    #[test]
    fn a_download_under_way_is_what_is_waited_for() {
        use Stage::{Download, Encode, Plan, Upload};
        for (inside, received, total, expected) in [
            (None, 0, None, Plan),
            (Some(Plan), 0, Some(10), Plan),
            (None, 0, Some(10), Download),
            (Some(Upload), 5, Some(10), Download),
            (Some(Upload), 10, Some(10), Upload),
            (Some(Upload), 0, Some(10), Upload),
            (Some(Encode), 5, None, Encode),
            (Some(Download), 5, None, Download),
        ] {
            assert_eq!(stage_shown(inside, received, total), expected, "{inside:?} {received} {total:?}");
        }
    }

    #[test]
    fn work_ends_when_it_ends() {
        let progress = Progress::new(1, Arc::default(), Arc::default());
        let began = Instant::now();
        assert_eq!(progress.shown_while(|| 7), 7);
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| progress.shown_while(|| panic!("on purpose"))));
        assert!(panicked.is_err() && began.elapsed() < PLAIN);
    }

    #[test]
    fn the_stop_flag_cancels() {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Progress::new(1, Arc::clone(&stop), Arc::default());
        assert!(!progress.cancelled());
        stop.store(true, Ordering::Relaxed);
        assert!(progress.cancelled());
    }
}
