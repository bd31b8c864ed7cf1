//! A run of a node written down, and played again.
//!
//! In come lines of JSON, each one thing that was done with a [`Node`]: it began, took another network file, was told an
//! [`Event`], was asked what to do and answered. [`play`] does the same with a node of its own and compares the answers, so
//! that what went wrong on a host can be looked at anywhere, as often as need be. A file may hold several runs, one after
//! the other; of a run that was killed the last line may be torn. Network files are kept as text, without anything secret:
//! private keys are not in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Event, Node, Output, Time};
use crate::file::load_with;
use crate::names::Name;
use crate::network::Network;
use crate::network::resolve::resolve;

/// What a recording calls itself.
pub const SCHEMA: &str = "wayleave.recording";
/// The format of recordings that this code writes and reads.
pub const VERSION: u32 = 1;

/// The texts of a network file and of what it includes, by name; the file itself first.
pub type Texts = Vec<(String, String)>;

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The node began, with [`Node::new`].
    Began {
        /// [`SCHEMA`].
        schema: String,
        /// [`VERSION`].
        version: u32,
        /// Its name.
        node: Name,
        /// The number of the run.
        boot: u16,
        /// When.
        at_us: u64,
        /// The network.
        texts: Texts,
    },
    /// It was given another version of the network, with [`Node::adopt`].
    Adopted {
        /// When.
        at_us: u64,
        /// The network.
        texts: Texts,
    },
    /// It was told something, with [`Node::handle`].
    Happened {
        /// When.
        at_us: u64,
        /// What.
        event: Event,
    },
    /// It was asked what to do, with [`Node::poll`] until nothing more came.
    Polled {
        /// When.
        at_us: u64,
        /// What came.
        outputs: Vec<Output>,
    },
    /// What followed is not in the file, which has grown as large as it may.
    Full {},
}

impl Line {
    /// The first line of a run.
    pub fn began(node: Name, boot: u16, at: Time, texts: Texts) -> Line {
        Line::Began { schema: SCHEMA.to_owned(), version: VERSION, node, boot, at_us: at.us(), texts }
    }

    /// As it stands in the file, with its end.
    ///
    /// # Errors
    /// None that is known of: every part of it has a form in JSON.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// What a recording held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Played {
    /// Runs of the program.
    pub runs: usize,
    /// Events, network files among them.
    pub events: usize,
    /// Outputs, each as it was recorded.
    pub outputs: usize,
}

/// Why a recording could not be played to its end, with the number of the line.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// It is not a line of a recording.
    #[error("line {0} can't be read")]
    Syntax(usize, #[source] serde_json::Error),
    /// It is of another format.
    #[error("line {0} begins a recording of format {1} {2}, and this program plays {SCHEMA} {VERSION}")]
    Version(usize, String, u32),
    /// A line before the beginning of any run.
    #[error("line {0} belongs to no run: a recording starts with its beginning")]
    NoBeginning(usize),
    /// The network file in it makes no network with that node.
    #[error("the network file in line {0} has errors, or no node of that name")]
    Network(usize),
    /// The node does something else than it did.
    #[error("at line {line} the node did {recorded}, and now does {played}")]
    Differs {
        /// Which line.
        line: usize,
        /// What is in the recording.
        recorded: String,
        /// What came instead.
        played: String,
    },
}

/// Does again all that a recording says was done, and compares what comes of it.
///
/// # Errors
/// At the first line that can't be read, or whose outputs differ.
pub fn play(text: &str) -> Result<Played, PlayError> {
    let mut played = Played::default();
    let mut node: Option<Node> = None;
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty()).peekable();
    while let Some((at, line)) = lines.next() {
        let (number, is_last_of_run) = (at + 1, lines.peek().is_none_or(|(_, next)| next.starts_with(r#"{"began""#)));
        let line = match serde_json::from_str(line) {
            Ok(line) => line,
            // The program was killed while it wrote.
            Err(_) if is_last_of_run && node.is_some() => continue,
            Err(error) => return Err(PlayError::Syntax(number, error)),
        };
        match line {
            Line::Began { schema, version, .. } if (schema.as_str(), version) != (SCHEMA, VERSION) => {
                return Err(PlayError::Version(number, schema, version));
            }
            Line::Began { node: name, boot, at_us, texts, .. } => {
                let network = network(texts).ok_or(PlayError::Network(number))?;
                let begun = Node::new(network, &name, boot, Time::from_us(at_us));
                node = Some(begun.map_err(|_| PlayError::Network(number))?);
                played.runs += 1;
            }
            Line::Full {} => {}
            line => step(node.as_mut().ok_or(PlayError::NoBeginning(number))?, line, number, &mut played)?,
        }
    }
    Ok(played)
}

fn step(node: &mut Node, line: Line, number: usize, played: &mut Played) -> Result<(), PlayError> {
    match line {
        Line::Adopted { at_us, texts } => {
            let network = network(texts).ok_or(PlayError::Network(number))?;
            // A network without the node changes nothing, then as now.
            let _ = node.adopt(network, Time::from_us(at_us));
            played.events += 1;
        }
        Line::Happened { at_us, event } => {
            node.handle(event, Time::from_us(at_us));
            played.events += 1;
        }
        Line::Polled { at_us, outputs } => {
            let now: Vec<Output> = std::iter::from_fn(|| node.poll(Time::from_us(at_us))).collect();
            if now != outputs {
                let (recorded, played) = (format!("{outputs:?}"), format!("{now:?}"));
                return Err(PlayError::Differs { line: number, recorded, played });
            }
            played.outputs += now.len();
        }
        Line::Began { .. } | Line::Full {} => {}
    }
    Ok(())
}

fn network(texts: Texts) -> Option<Arc<Network>> {
    let root = texts.first()?.0.clone();
    let mut by_name: BTreeMap<String, String> = texts.into_iter().collect();
    let read = |name: &str| by_name.remove(name).map(String::into_bytes).ok_or_else(|| "not recorded".to_owned());
    let loaded = load_with(&root, read);
    resolve(&loaded.file).network.map(Arc::new)
}

/// Bytes as base64, in which a message takes a third of the room that numbers would.
pub(super) mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
