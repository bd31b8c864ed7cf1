//! `wayleave check`: findings of a network file and of its plan. Changes nothing.

use crate::args::CheckArgs;
use crate::exit::Exit;
use crate::files;
use crate::report;

/// Prints all findings, worst first, and a summary.
pub fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let planned = files::plan(&args.file)?;
    if args.json {
        println!("{:#}", report::findings_json(&planned.findings, &planned.sources));
    } else {
        report::print_findings(&planned.findings, &planned.sources);
        report::print_summary(&planned.findings, &args.file);
    }
    Ok(match (planned.findings.errors(), planned.findings.warnings()) {
        (1.., _) => Exit::Failed,
        (0, 1..) if args.strict => Exit::Warnings,
        _ => Exit::Fine,
    })
}
