//! `wayleave`: plans, proves and runs WireGuard overlay networks from one network file.
//!
//! Each command is one file in `commands`; this one reads the command line and turns results into exit codes, which
//! are the same for all commands: see [`exit::Exit`].

mod args;
mod commands;
mod exit;
mod files;
mod foreign;
mod qr;
mod report;
mod table;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use exit::Exit;
use wayleave_agent::control::Request;

fn main() -> ExitCode {
    // `wayleave plan | head` must end quietly, as other programs do, instead of failing to print.
    // SAFETY: called before any thread exists; SIG_DFL is a valid disposition for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    std::panic::set_hook(Box::new(handle_panic));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Fine.into() };
        }
    };
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            report::print_error(&error);
            error.downcast_ref::<Exit>().copied().unwrap_or(Exit::Failed).into()
        }
    }
}

/// `println!` panics when stdout can't be written to, on a full disk for instance; that is an error like any other.
fn handle_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    if message.starts_with("failed printing to") {
        // To a stderr that may be as broken.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {message}\n"));
        std::process::exit(Exit::Failed.code().into());
    }
    let place = panic.location().map_or(String::new(), |place| format!(" at {place}"));
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("error: a mistake in wayleave itself{place}: {message}\nplease report it\n"),
    );
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Check(args) => commands::check::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Render(args) => commands::render::run(&args),
        Command::Prove(args) => commands::prove::run(&args),
        Command::Explain(args) => commands::prove::explain::run(&args),
        Command::Survive(args) => commands::prove::survive::run(&args),
        Command::Client(args) => commands::client::run(&args.command),
        Command::ClientWatch(args) => commands::host::client_watch::run(args),
        Command::Key(args) => commands::key::run(args.command),
        Command::Lab(args) => commands::lab::run(args.command),
        Command::Agent(args) => commands::host::agent::run(args),
        Command::Status(args) => commands::host::status::run(&args),
        Command::Doctor(args) => commands::host::doctor::run(&args),
        Command::Bgp(args) => commands::host::bgp::run(&args),
        Command::Route(args) => commands::host::route::run(&args),
        Command::LookingGlass(args) => commands::host::looking_glass::run(&args),
        Command::Ping(args) => commands::host::ping::run(&args),
        Command::Show { network, all } => commands::host::status::show(network.as_deref(), all),
        Command::Reload { network } => {
            commands::host::agent::tell(network.as_deref(), Request::Reload { file: None, confirm_s: None })
        }
        Command::Drain(args) => commands::host::drain::run(&args),
        Command::Undrain { network } => commands::host::agent::tell(network.as_deref(), Request::Drain { on: false }),
        Command::Apply(args) => commands::host::apply::run(&args),
        Command::Confirm { network } => commands::host::apply::confirmed(network.as_deref()),
        Command::Down(args) => commands::host::apply::down(&args),
        Command::Engine(args) => commands::engine::run(&args),
        Command::Schema => commands::manual::schema(),
        Command::Completions { shell } => commands::manual::completions(shell),
        Command::Man { directory } => commands::manual::man(directory.as_deref()),
    }
}
