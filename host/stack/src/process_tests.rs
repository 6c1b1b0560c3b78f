//! Whose process is it?

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{MARKER, Process, strays};

fn sleeper(home: &std::path::Path) -> std::process::Child {
    Command::new("sleep").arg("60").env(MARKER, home).stdin(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_pid_with_another_start_is_somebody_else() {
    let mut child = sleeper(std::path::Path::new("/nowhere"));
    let process = Process::of(child.id()).unwrap();
    assert!(process.is_alive() && process.memory_bytes().is_some() && process.age().is_some());
    let reused = Process { started_ticks: process.started_ticks + 1, ..process.clone() };
    let other_boot = Process { boot: "another".to_owned(), ..process.clone() };
    for stranger in [reused, other_boot] {
        assert!(!stranger.is_alive());
        assert!(stranger.end(libc::SIGKILL, Duration::from_millis(10)), "nothing to end");
    }
    assert!(process.is_alive(), "a stranger is not signalled");
    assert!(process.end(libc::SIGTERM, Duration::from_secs(10)));
    assert!(!process.is_alive(), "ended and not waited for is ended");
    child.wait().unwrap();
    assert!(Process::of(child.id()).is_none_or(|now| now != process));
}

#[test]
fn who_does_not_listen_is_made_to_end() {
    let mut child = Command::new("sh")
        .args(["-c", "trap '' TERM; echo on; sleep 60 & wait; wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    let process = Process::of(child.id()).unwrap();
    assert!(process.end(libc::SIGTERM, Duration::from_millis(200)));
    child.wait().unwrap();
}

#[test]
fn what_nobody_recorded_is_found_by_its_mark() {
    let home = tempfile::tempdir().unwrap();
    let (mut known, mut unknown) = (sleeper(home.path()), sleeper(home.path()));
    let mut elsewhere = sleeper(&home.path().join("other"));
    let recorded = [Process::of(known.id()).unwrap()];
    // The child has its own environment only after exec.
    let found = (0..100)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            Some(strays(home.path(), &recorded)).filter(|found| !found.is_empty())
        })
        .unwrap_or_default();
    assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [unknown.id()]);
    for child in [&mut known, &mut unknown, &mut elsewhere] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
