//! `wayleave schema`: the JSON Schema of network files, for editors.

use crate::exit::Exit;

/// Prints it.
pub fn run() -> anyhow::Result<Exit> {
    println!("{:#}", wayleave_core::file::schema());
    Ok(Exit::Fine)
}
