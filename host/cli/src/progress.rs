//! What a person sees while a run goes on, and the clock behind the report.
//!
//! On a terminal one line is redrawn: window, stage, rows, bytes, time left. Elsewhere plain lines come every few seconds. Stages overlap and run
//! on several threads: a stage's wall time is the time in which at least one thread was in it, its CPU time is that of all threads.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lakehost_columnar::{Mark, Observer, Stage};
use lakehost_pipeline::Meter;

use crate::memory;
use crate::table::grouped;

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

/// A line without an end in sight, and one with.
const SPINNER: &str = "{spinner} {prefix}  {wide_msg}";
const BAR: &str = "{spinner} {prefix} [{bar:24}]  {wide_msg}";
/// Steps of the bar.
const SHARES: u64 = 1_000;

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Watches a run: clock, progress, and the flag that stops it.
pub struct Progress {
    started: Instant,
    stop: Arc<AtomicBool>,
    stages: [Mutex<StageClock>; STAGES.len()],
    rows: AtomicU64,
    bytes: AtomicU64,
    window: Mutex<WindowClock>,
    windows: usize,
    view: View,
    /// Nanoseconds since `started` at which the view is due again.
    due_ns: AtomicU64,
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
    /// Process CPU seconds of each window that ended.
    cpu_seconds: Vec<f64>,
}

enum View {
    Bar(ProgressBar),
    Plain,
    Hidden,
}

impl Progress {
    /// `windows`: how many the run has. Shows nothing when `hidden`.
    pub fn new(windows: usize, stop: Arc<AtomicBool>, hidden: bool) -> Self {
        let view = if hidden {
            View::Hidden
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style(SPINNER));
            View::Bar(bar)
        } else {
            View::Plain
        };
        Self {
            started: Instant::now(),
            stop,
            stages: Default::default(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            window: Mutex::default(),
            windows,
            view,
            due_ns: AtomicU64::new(0),
        }
    }

    /// CPU seconds of the whole process, window by window.
    pub fn window_cpu_seconds(&self) -> Vec<f64> {
        locked(&self.window).cpu_seconds.clone()
    }

    /// Takes the terminal line away.
    pub fn finish(&self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn stage(&self, stage: Stage) -> Option<MutexGuard<'_, StageClock>> {
        let index = STAGES.iter().position(|known| *known == stage)?;
        self.stages.get(index).map(locked)
    }

    /// Shows where the run is, when it is time to.
    fn show(&self) {
        let interval = match &self.view {
            View::Bar(_) => REDRAW,
            View::Plain => PLAIN,
            View::Hidden => return,
        };
        let now = self.now_ns();
        let due = self.due_ns.load(Ordering::Relaxed);
        let next = now.saturating_add(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
        // Of several threads that find it due, one shows it.
        if now < due || self.due_ns.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let message = self.message(now);
        let prefix = self.prefix();
        match &self.view {
            View::Bar(bar) => {
                if let Some(share) = self.share() {
                    if bar.length().is_none() {
                        bar.set_style(style(BAR));
                        bar.set_length(SHARES);
                    }
                    bar.set_position((share * SHARES as f64) as u64);
                }
                bar.set_prefix(prefix);
                bar.set_message(message);
                bar.tick();
            }
            // The first plain line would say nothing yet.
            View::Plain if due > 0 => {
                let _ = writeln!(std::io::stderr(), "{prefix}: {message}");
            }
            View::Plain | View::Hidden => {}
        }
    }

    /// How much of the run is done, when that can be told.
    fn share(&self) -> Option<f64> {
        let window = locked(&self.window);
        let done = window.cpu_seconds.len() as f64;
        let bytes = self.bytes.load(Ordering::Relaxed) as f64;
        let at_hand = window.bytes.map(|expected| (bytes / expected.max(1) as f64).min(1.0));
        match at_hand {
            None if self.windows < 2 => None,
            at_hand => Some(((done + at_hand.unwrap_or_default()) / self.windows.max(1) as f64).min(1.0)),
        }
    }

    fn prefix(&self) -> String {
        let window = locked(&self.window);
        if self.windows > 1 {
            format!("{} ({}/{})", window.label, window.begun, self.windows)
        } else {
            window.label.clone()
        }
    }

    fn message(&self, now_ns: u64) -> String {
        let stage = STAGES
            .iter()
            .zip(&self.stages)
            .rev()
            .find(|(_, clock)| locked(clock).inside > 0)
            .map_or("plan", |(stage, _)| word(*stage));
        let rows = self.rows.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        let window = locked(&self.window);
        let elapsed_ns = now_ns.saturating_sub(window.began_ns);
        let mut parts =
            vec![stage.to_owned(), format!("{} rows", grouped(rows)), format!("{} written", memory::shown(bytes))];
        parts.push(format!("{:.0} s", elapsed_ns as f64 / 1e9));
        if let Some(left) = time_left(&window, self.windows, now_ns, bytes) {
            parts.push(format!("about {left} left"));
        }
        parts.join(", ")
    }
}

/// Time left: by the windows that are done, else by the bytes of the one at hand.
fn time_left(window: &WindowClock, windows: usize, now_ns: u64, bytes: u64) -> Option<String> {
    let done = window.cpu_seconds.len();
    let left_ns = if done > 0 && windows > done {
        let per_window = window.began_ns as f64 / done as f64;
        per_window * (windows - done) as f64 - now_ns.saturating_sub(window.began_ns) as f64
    } else {
        let share = bytes as f64 / window.bytes? as f64;
        if !(0.05..1.0).contains(&share) {
            return None;
        }
        now_ns.saturating_sub(window.began_ns) as f64 * (1.0 - share) / share
    };
    let seconds = (left_ns / 1e9).max(1.0).round() as u64;
    Some(if seconds < 100 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) })
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
        self.show();
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
        self.show();
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
        drop(window);
        self.show();
    }

    fn window_holds(&self, bytes: u64) {
        locked(&self.window).bytes = Some(bytes);
        self.show();
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
        let progress = Progress::new(1, Arc::default(), true);
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
        let progress = Progress::new(2, Arc::default(), true);
        progress.window_begins("a");
        let mark = progress.enter(Stage::Clean);
        progress.leave(Stage::Clean, mark);
        progress.progress(10, 20);
        progress.window_ends();
        progress.window_begins("b");
        assert_eq!(progress.rows.load(Ordering::Relaxed), 0);
        assert!(progress.window_ends().0.is_empty());
        assert_eq!(progress.prefix(), "b (2/2)");
        assert_eq!(progress.share(), Some(1.0));
    }

    #[test]
    fn time_left_is_told_when_it_can_be() {
        let second = 1_000_000_000;
        let done =
            WindowClock { begun: 3, began_ns: 20 * second, cpu_seconds: vec![1.0, 1.0], ..WindowClock::default() };
        assert_eq!(time_left(&done, 12, 25 * second, 0).as_deref(), Some("95 s"));
        let first = WindowClock { begun: 1, bytes: Some(100), ..WindowClock::default() };
        assert_eq!(time_left(&first, 1, 10 * second, 50).as_deref(), Some("10 s"));
        assert_eq!(time_left(&first, 1, 10 * second, 1), None);
        assert_eq!(time_left(&WindowClock::default(), 1, second, 50), None);
    }

    #[test]
    fn the_stop_flag_cancels() {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Progress::new(1, Arc::clone(&stop), true);
        assert!(!progress.cancelled());
        stop.store(true, Ordering::Relaxed);
        assert!(progress.cancelled());
    }
}
