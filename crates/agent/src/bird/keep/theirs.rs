//! A BIRD of the administrator's, which includes a file of ours: judged with a text in that file, and left without it.
//!
//! In: a text, and where their configuration and our part of it are. Out: whether that loads, in BIRD's words or in ours. Their
//! configuration is only read, their BIRD neither started nor ended; what changes is our part, and a note of where that is, in the
//! network's directory, by which a successor finds it. Our part alone is judged first: so the file that another start of their BIRD
//! may read meanwhile is never one that makes no sense.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hands::{Paths, failed, judge, remove, write};
use super::supervisor::{NOTHING, Trouble};
use crate::system::watch_files::Opened;

/// The note, in the network's directory.
const NOTE: &str = "bird.theirs";

/// Whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Theirs {
    /// The configuration that it runs with.
    pub configuration: PathBuf,
    /// What all names of ours begin with.
    pub prefix: String,
    /// The line by which it includes our part.
    pub line: String,
    /// The network's directory.
    pub place: PathBuf,
}

/// What the note says.
#[derive(Serialize, Deserialize)]
struct Note {
    part: PathBuf,
    socket: PathBuf,
    theirs: Theirs,
}

/// Where a predecessor has left a part of ours.
pub fn noted(place: &Path, program: &Path) -> Option<Paths> {
    let Note { part, socket, theirs } = serde_json::from_slice(&fs::read(place.join(NOTE)).ok()?).ok()?;
    let theirs = Some(Theirs { place: place.to_owned(), ..theirs });
    Some(Paths { program: program.to_owned(), configuration: part, socket, ends_with_us: false, theirs })
}

/// Notes where our part is.
pub fn note(paths: &Paths, theirs: &Theirs) -> io::Result<()> {
    let note = Note { part: paths.configuration.clone(), socket: paths.socket.clone(), theirs: theirs.clone() };
    write(&theirs.place.join(NOTE), &serde_json::to_string(&note).map_err(io::Error::other)?)
}

/// Whether BIRD would take a text, ours alone and with all of theirs. Afterwards our part is as before.
///
/// # Errors
/// What is wrong with it, or with theirs.
pub fn check(paths: &Paths, theirs: &Theirs, text: &str) -> Result<(), Trouble> {
    let (new, alone) = (paths.beside(".new"), paths.beside(".alone"));
    let wrapped = format!("router id 192.0.2.1;\nprotocol device {{ }}\ninclude \"{}\";\n", new.display());
    write(&new, text)
        .and_then(|()| write(&alone, &wrapped))
        .map_err(failed("write our part of BIRD's configuration"))?;
    let judged = judge(&paths.program, &alone);
    let _ = remove(&alone);
    if judged.is_err() {
        let _ = remove(&new);
    }
    judged?;
    let (outcome, is_read) = within(paths, theirs, &new).map_err(failed("put our part where BIRD reads it"))?;
    let (whole, part) = (theirs.configuration.display(), paths.configuration.display());
    match outcome {
        Ok(()) if is_read => Ok(()),
        Ok(()) => {
            Err(Trouble::Refused(format!("{whole} does not include {part}; add this line to it: {}", theirs.line)))
        }
        // Whose mistake it is shows with a part that says nothing.
        Err(Trouble::Refused(words)) => match write(&new, NOTHING).and_then(|()| within(paths, theirs, &new)) {
            Ok((Ok(()), _)) => Err(Trouble::Refused(format!("{whole} does not load with our part: {words}"))),
            _ => Err(Trouble::Refused(format!("{whole} does not load, whatever our part says: {words}"))),
        },
        Err(trouble) => Err(trouble),
    }
}

/// What becomes of their configuration with a new part in the place of the present one, and whether that is read at all.
fn within(paths: &Paths, theirs: &Theirs, new: &Path) -> io::Result<(Result<(), Trouble>, bool)> {
    let (part, aside) = (&paths.configuration, paths.beside(".aside"));
    remove(&aside)?;
    let was_there = match fs::hard_link(part, &aside) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    fs::rename(new, part)?;
    let opened = Opened::watch(part);
    let outcome = judge(&paths.program, &theirs.configuration);
    let is_read = opened.map(|opened| opened.was());
    if was_there {
        fs::rename(&aside, part)?
    } else {
        remove(part)?
    }
    Ok((outcome, is_read?))
}

/// Takes our part away, whatever it says. Where theirs does not load without the file, one that says nothing is left.
pub fn leave(paths: &Paths, theirs: &Theirs) -> io::Result<()> {
    let (part, aside) = (&paths.configuration, paths.beside(".aside"));
    for end in [".new", ".before", ".alone"] {
        remove(&paths.beside(end))?;
    }
    if part.exists() {
        fs::rename(part, &aside)?;
        if judge(&paths.program, &theirs.configuration).is_err() {
            write(part, NOTHING)?;
        }
        remove(&aside)?;
    }
    remove(&theirs.place.join(NOTE))
}
