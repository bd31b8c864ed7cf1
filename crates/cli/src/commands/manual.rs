//! `wayleave completions`, `wayleave man` and `wayleave schema`: made from the definitions of the command line and of network
//! files, so they never lag behind.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::args::Cli;
use crate::exit::Exit;

/// Prints a shell's completions.
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    clap_complete::generate(shell, &mut Cli::command(), "wayleave", &mut std::io::stdout());
    Ok(Exit::Fine)
}

/// Prints the JSON Schema of network files, for editors.
pub fn schema() -> anyhow::Result<Exit> {
    println!("{:#}", wayleave_core::file::schema());
    Ok(Exit::Fine)
}

/// Prints the manual page, or writes one page per command.
pub fn man(directory: Option<&Path>) -> anyhow::Result<Exit> {
    let command = Cli::command();
    match directory {
        None => clap_mangen::Man::new(command).render(&mut std::io::stdout())?,
        Some(directory) => {
            std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
            clap_mangen::generate_to(command, directory)
                .with_context(|| format!("writing manual pages to {}", directory.display()))?;
        }
    }
    Ok(Exit::Fine)
}
