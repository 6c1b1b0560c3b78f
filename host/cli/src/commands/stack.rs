//! `lakehost stack`: the services of a full lakehouse as processes of this machine.

mod failed;
mod logs;

use lakehost_pipeline::Fault;
use lakehost_stack::{Ended, Health, Home, Outcome, Service, Stack, Status, Up, Watch};
use serde_json::{Value, json};

use crate::args::{
    ReportFormat, ServiceArgument, StackCommand, StackDownArguments, StackPlace, StackStatusArguments, StackUpArguments,
};
use crate::table::{Align, TextTable};
use crate::{exit_code, memory, screen, signals};

use failed::failed;

/// Does what is asked.
pub fn run(command: &StackCommand) -> Result<u8, Fault> {
    match command {
        StackCommand::Up(arguments) => up(arguments),
        StackCommand::Down(arguments) => down(arguments),
        StackCommand::Status(arguments) => status(arguments),
        StackCommand::Logs(arguments) => logs::run(arguments),
    }
}

fn home(place: &StackPlace) -> Result<Home, Fault> {
    let home = match &place.home {
        Some(folder) => Home::at(folder),
        None => Home::named(&place.name),
    };
    home.map_err(failed)
}

/// Sentences go to stderr as they come; Ctrl-C is a wish to stop.
fn watch() -> Watch {
    Watch::new(signals::stop_flag(), |text| screen::say(&format!("stack: {text}\n")))
}

fn services(arguments: &[ServiceArgument]) -> Vec<Service> {
    arguments.iter().copied().map(Service::from).collect()
}

fn up(arguments: &StackUpArguments) -> Result<u8, Fault> {
    let stack = Stack::new(home(&arguments.place)?).map_err(failed)?;
    let mut wanted = services(&arguments.only);
    if wanted.is_empty() {
        wanted.extend(Service::DEFAULT);
    }
    wanted.extend(services(&arguments.with));
    let ups = stack.up(&wanted, &watch()).map_err(failed)?;
    let statuses = stack.status().map_err(failed)?;
    match arguments.format {
        ReportFormat::Json => {
            let outcome = |status: &Status| ups.iter().find(|up| up.service == status.service).map(outcome);
            let listed = statuses.iter().map(|status| {
                let mut value = json_of(status);
                value["outcome"] = outcome(status).into();
                value
            });
            super::print_json(&place_json(&stack.home, listed.collect()))?;
        }
        ReportFormat::Text => super::print(&up_text(&stack.home, &ups, &statuses))?,
    }
    Ok(exit_code::SUCCESS)
}

fn outcome(up: &Up) -> &'static str {
    match up.outcome {
        Outcome::Started => "started",
        Outcome::Restarted => "restarted",
        Outcome::AlreadyRunning => "already-running",
    }
}

fn up_text(home: &Home, ups: &[Up], statuses: &[Status]) -> String {
    let mut table = TextTable::new([("service", Align::Left), ("outcome", Align::Left), ("address", Align::Left)]);
    for up in ups {
        let address =
            statuses.iter().find(|status| status.service == up.service).and_then(|status| status.address.clone());
        let how = match up.outcome {
            Outcome::AlreadyRunning => "already running".to_owned(),
            _ => format!("{} in {:.1} s", outcome(up), up.took.as_secs_f64()),
        };
        table.row([up.service.name(), &how, &address.unwrap_or_default()]);
    }
    let env = super::init::quoted(&home.env_file());
    let profile = home.profile_file();
    format!(
        "{}\nnext: . {env}\n      lakehost doctor --profile stack\nThe profile as sections of a lakehost.toml: {}\n",
        table.render(),
        profile.display()
    )
}

fn down(arguments: &StackDownArguments) -> Result<u8, Fault> {
    let stack = Stack::new(home(&arguments.place)?).map_err(failed)?;
    let mut which = services(&arguments.only);
    if which.is_empty() {
        which.extend(Service::ALL);
    }
    let ended = stack.down(&which, &watch()).map_err(failed)?;
    if arguments.wipe {
        stack.wipe(&watch()).map_err(failed)?;
    }
    match arguments.format {
        ReportFormat::Json => {
            let listed = ended.iter().map(|ended| json!({ "service": ended.service.name(), "ended_pid": ended.pid }));
            let mut answer = place_json(&stack.home, listed.collect());
            answer["wiped"] = arguments.wipe.into();
            super::print_json(&answer)?;
        }
        ReportFormat::Text => super::print(&down_text(&stack.home, &ended, arguments.wipe))?,
    }
    Ok(exit_code::SUCCESS)
}

fn down_text(home: &Home, ended: &[Ended], wiped: bool) -> String {
    let names: Vec<&str> = ended.iter().filter(|ended| ended.pid.is_some()).map(|ended| ended.service.name()).collect();
    let mut text = match names.is_empty() {
        true => "nothing was running\n".to_owned(),
        false => format!("ended {}\n", names.join(", ")),
    };
    if wiped {
        text.push_str(&format!("removed {}\n", home.folder.display()));
    }
    text
}

fn status(arguments: &StackStatusArguments) -> Result<u8, Fault> {
    let stack = Stack::new(home(&arguments.place)?).map_err(failed)?;
    let statuses = stack.status().map_err(failed)?;
    match arguments.format {
        ReportFormat::Json => {
            super::print_json(&place_json(&stack.home, statuses.iter().map(json_of).collect()))?;
        }
        ReportFormat::Text => super::print(&status_text(&statuses))?,
    }
    Ok(exit_code::SUCCESS)
}

fn health(status: &Status) -> &'static str {
    match status.health {
        Health::Ready => "ready",
        Health::Silent => "silent",
        Health::Died => "died",
        Health::Down => "down",
    }
}

fn status_text(statuses: &[Status]) -> String {
    let columns = [
        ("service", Align::Left),
        ("state", Align::Left),
        ("pid", Align::Right),
        ("memory", Align::Right),
        ("up for", Align::Right),
        ("address", Align::Left),
    ];
    let mut table = TextTable::new(columns);
    for status in statuses {
        table.row([
            status.service.name().to_owned(),
            health(status).to_owned(),
            status.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            status.memory_bytes.map(memory::shown).unwrap_or_default(),
            status.age.map(|age| span(age.as_secs())).unwrap_or_default(),
            status.address.clone().unwrap_or_default(),
        ]);
    }
    let mut text = table.render();
    for status in statuses.iter().filter(|status| matches!(status.health, Health::Died | Health::Silent)) {
        text.push_str(&format!(
            "{} {}: `lakehost stack logs {0}` shows what it said, `lakehost stack up` starts it again\n",
            status.service,
            match status.health {
                Health::Died => "ended without `down`",
                _ => "runs and does not answer",
            },
        ));
    }
    text
}

/// `3 h 5 min`
fn span(seconds: u64) -> String {
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

fn place_json(home: &Home, services: Vec<Value>) -> Value {
    json!({
        "home": home.folder,
        "env": home.env_file(),
        "profile": home.profile_file(),
        "services": services,
    })
}

fn json_of(status: &Status) -> Value {
    json!({
        "service": status.service.name(),
        "state": health(status),
        "pid": status.pid,
        "address": status.address,
        "memory_bytes": status.memory_bytes,
        "up_seconds": status.age.map(|age| age.as_secs()),
        "log": status.log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_as_a_table() {
        let status = |service, health| Status {
            service,
            health,
            pid: (health == Health::Ready).then_some(12),
            address: (health == Health::Ready).then(|| "http://127.0.0.1:9000".to_owned()),
            memory_bytes: None,
            age: (health == Health::Ready).then_some(std::time::Duration::from_secs(11_100)),
            log: "log".into(),
        };
        let text = status_text(&[status(Service::Minio, Health::Ready), status(Service::Trino, Health::Died)]);
        let expected = "\
service  state  pid  memory     up for  address
───────  ─────  ───  ──────  ─────────  ─────────────────────
minio    ready   12          3 h 5 min  http://127.0.0.1:9000
trino    died
trino ended without `down`: `lakehost stack logs trino` shows what it said, `lakehost stack up` starts it again
";
        assert_eq!(text, expected);
    }
}
