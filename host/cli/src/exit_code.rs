//! From how a command ended to what the shell sees.

use lakehost_pipeline::{Fault, RunReport};

/// All went well.
pub const SUCCESS: u8 = 0;
/// A command line that says too little.
pub const USAGE: u8 = 2;
/// Stopped by a signal.
pub const INTERRUPTED: u8 = 130;

/// The exit code of a command that ended with a fault: the class of its code.
pub fn of_fault(fault: &Fault) -> u8 {
    fault.code().exit()
}

/// The exit code of a run: that of its first fault, else of the models that followed it.
pub fn of_report(report: &RunReport, models: Option<&Fault>) -> u8 {
    report.fault().or(models).map_or(SUCCESS, of_fault)
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::codes;

    #[test]
    fn every_code_has_the_exit_of_its_class() {
        let table = [
            ("LH01", 2),
            ("LH02", 3),
            ("LH03", 4),
            ("LH04", 5),
            ("LH05", 6),
            ("LH060", 7),
            ("LH065", 9),
            ("LH07", 8),
            ("LH08", 10),
            ("LH09", 70),
            ("LH100", 11),
            ("LH101", 11),
            ("LH1099", 130),
        ];
        for (code, title) in codes::ALL {
            let expected = table.iter().find(|(class, _)| code.0.starts_with(class)).map(|(_, exit)| *exit);
            assert_eq!(Some(code.exit()), expected, "{code} {title}");
        }
    }
}
