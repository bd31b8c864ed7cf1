//! Reads a network file and what it includes, without touching the disk.
//!
//! Call order: [`Loader::new`]; then, while [`Loader::poll_wanted`] names a source, [`Loader::handle_source`] with its
//! bytes or with why it can't be had; then [`Loader::finish`]. Paths in `include` are relative to the file they stand
//! in and are joined here, textually. Each source is read once; cycles, depth, number and size are bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::decode::{Decode, Decoder};
use super::tree::{Spanned, Value};
use super::written::SourceTable;
use super::{Condition, NetworkFile, json, toml, yaml};
use crate::check::{Finding, Findings, Reading, Source, SourceIx, Sources, Span};
use crate::limits::{INCLUDE_DEPTH_MAX, SOURCE_BYTES_MAX, SOURCES_BYTES_MAX, SOURCES_MAX};

/// What a [`Loader`] made of the sources.
#[derive(Debug)]
pub struct Loaded {
    /// The network as written.
    pub file: NetworkFile,
    /// The sources, with secrets that do not belong there blotted out.
    pub sources: Sources,
    /// What is wrong with the text.
    pub findings: Findings,
}

/// Reads one network file. See the module for the order of calls.
#[derive(Debug)]
pub struct Loader {
    wanted: VecDeque<Wanted>,
    asked: Option<Wanted>,
    /// Every source ever wanted, with the include that wanted it first.
    known: BTreeMap<String, Option<Span>>,
    bytes: usize,
    sources: Vec<Source>,
    file: NetworkFile,
    findings: Findings,
}

#[derive(Debug, Clone)]
struct Wanted {
    path: String,
    place: Option<Span>,
    /// The files that led here, the root first.
    chain: Vec<String>,
}

/// Loads a network file with a function that gives a source's bytes or says why it can't.
pub fn load_with(root: &str, mut read: impl FnMut(&str) -> Result<Vec<u8>, String>) -> Loaded {
    let mut loader = Loader::new(root);
    while let Some(path) = loader.poll_wanted() {
        let source = read(&path);
        loader.handle_source(&path, source);
    }
    loader.finish()
}

impl Loader {
    /// Starts with the path of the root file, as the operator gave it.
    pub fn new(root_name: &str) -> Loader {
        let root = Wanted { path: root_name.to_owned(), place: None, chain: Vec::new() };
        Loader {
            known: BTreeMap::from([(normal(root_name), None)]),
            wanted: VecDeque::from([root]),
            asked: None,
            bytes: 0,
            sources: Vec::new(),
            file: NetworkFile::default(),
            findings: Findings::default(),
        }
    }

    /// The next source to hand in, if any.
    pub fn poll_wanted(&mut self) -> Option<String> {
        if self.asked.is_none() {
            self.asked = self.wanted.pop_front();
        }
        self.asked.as_ref().map(|wanted| wanted.path.clone())
    }

    /// Takes the bytes of the source that was asked for, or why it can't be read. Others are ignored.
    pub fn handle_source(&mut self, path: &str, source: Result<Vec<u8>, String>) {
        let Some(wanted) = self.asked.take_if(|wanted| wanted.path == path) else { return };
        let text = match source.map_err(|why| Reading::Unreadable { name: path.to_owned(), why }) {
            Ok(bytes) => self.text(path, bytes),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => self.read(wanted, text),
            Err(kind) => self.broken(Finding::new(kind, wanted.place)),
        }
    }

    /// What could be read, and everything that is wrong with it.
    pub fn finish(mut self) -> Loaded {
        if self.file.network.is_none() && self.file.condition != Condition::Broken {
            let finding = Finding::new(Reading::Missing { table: "file", key: "network" }, None);
            self.findings.push(finding.with_fix("Add [network] with a name and prefixes."));
        }
        if self.findings.errors() > 0 {
            self.file.condition = self.file.condition.max(Condition::Faulty);
        }
        Loaded { file: self.file, sources: Sources(self.sources), findings: self.findings }
    }

    fn broken(&mut self, finding: Finding) {
        self.findings.push(finding);
        self.file.condition = Condition::Broken;
    }

    fn text(&mut self, path: &str, mut bytes: Vec<u8>) -> Result<String, Reading> {
        if bytes.len() > SOURCE_BYTES_MAX {
            return Err(Reading::TooLarge { what: path.to_owned(), max: SOURCE_BYTES_MAX });
        }
        self.bytes += bytes.len();
        if self.bytes > SOURCES_BYTES_MAX {
            let what = "the whole network file".to_owned();
            return Err(Reading::TooLarge { what, max: SOURCES_BYTES_MAX });
        }
        if bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(..3);
        }
        String::from_utf8(bytes)
            .map_err(|error| Reading::NotUtf8 { name: path.to_owned(), at: error.utf8_error().valid_up_to() })
    }

    fn read(&mut self, wanted: Wanted, text: String) {
        // At most SOURCES_MAX sources are asked for, which fits.
        let source = SourceIx(self.sources.len() as u16);
        let errors = self.findings.errors();
        let tree = parse(&wanted.path, &text, source, &mut self.findings);
        if self.findings.errors() > errors {
            self.file.condition = Condition::Broken;
        }
        let mut decoder = Decoder::new(&mut self.findings);
        let table = SourceTable::decode(&tree, &mut decoder).unwrap_or_default();
        let text = blotted(text, &decoder.secrets);
        self.sources.push(Source { name: wanted.path.clone(), text: Arc::from(text) });
        let includes = self.merge(table);
        includes.into_iter().for_each(|include| self.want(&wanted, include));
    }

    /// Adds one source's tables to the file; its includes remain.
    fn merge(&mut self, table: SourceTable) -> Vec<Spanned<String>> {
        once("network", &mut self.file.network, table.network, &mut self.findings);
        once("bgp", &mut self.file.bgp, table.bgp, &mut self.findings);
        once("entry", &mut self.file.entry, table.entry, &mut self.findings);
        fn of<T: Default>(field: Option<Spanned<T>>) -> T {
            field.map(|spanned| spanned.value).unwrap_or_default()
        }
        self.file.regions.extend(of(table.regions).0);
        self.file.nodes.extend(of(table.nodes).0);
        self.file.sites.extend(of(table.sites).0);
        self.file.clients.extend(of(table.clients).0);
        self.file.neighbours.extend(of(table.neighbours).0);
        self.file.links.extend(of(table.links));
        self.file.groups.extend(of(table.groups).0);
        self.file.allow.extend(of(table.allow));
        self.file.services.extend(of(table.services).0);
        self.file.isolate.extend(of(table.isolate));
        self.file.asserts.extend(of(table.assert));
        self.file.rtt_ms.extend(of(table.rtt_ms).0);
        of(table.include).into_iter().map(|path| Spanned { value: path.value.0, span: path.span }).collect()
    }

    fn want(&mut self, from: &Wanted, include: Spanned<String>) {
        let path = joined(&from.path, &include.value);
        let mut chain = from.chain.clone();
        chain.push(from.path.clone());
        let place = include.span;
        if chain.iter().any(|earlier| normal(earlier) == normal(&path)) {
            chain.push(path);
            let finding = Finding::new(Reading::IncludeCycle { chain: chain.join(" -> ") }, place);
            return self.findings.push(finding.with_fix("Remove this include."));
        }
        if let Some(first) = self.known.get(&normal(&path)) {
            let finding = Finding::new(Reading::IncludedTwice { name: path }, place);
            return self.findings.push(match first {
                Some(first) => finding.with_related(*first, "included here first"),
                None => finding,
            });
        }
        if chain.len() > INCLUDE_DEPTH_MAX {
            return self.broken(Finding::new(Reading::IncludeTooDeep { max: INCLUDE_DEPTH_MAX }, place));
        }
        if self.known.len() >= SOURCES_MAX {
            return self.broken(Finding::new(Reading::TooManySources { max: SOURCES_MAX }, place));
        }
        self.known.insert(normal(&path), Some(place));
        self.wanted.push_back(Wanted { path, place: Some(place), chain });
    }
}

/// Takes a table of which a network has only one.
fn once<T>(name: &'static str, kept: &mut Option<Spanned<T>>, given: Option<Spanned<T>>, findings: &mut Findings) {
    let Some(given) = given else { return };
    match kept {
        None => *kept = Some(given),
        Some(first) => {
            let finding = Finding::new(Reading::TableTwice { table: name }, given.span);
            findings.push(finding.with_related(first.span, "given here first").with_fix("Keep one of them."));
        }
    }
}

/// Which syntax a path's ending stands for.
fn parse(path: &str, text: &str, source: SourceIx, findings: &mut Findings) -> Value {
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match ending.as_str() {
        "yaml" | "yml" => yaml::parse(text, source, findings),
        "json" => json::parse(text, source, findings),
        _ => toml::parse(text, source, findings),
    }
}

/// The text with secret values replaced by asterisks of the same length, so that no finding can print them.
fn blotted(text: String, secrets: &[Span]) -> String {
    let mut text = text;
    for secret in secrets {
        let range = secret.start as usize..secret.end as usize;
        if text.get(range.clone()).is_some() {
            text.replace_range(range.clone(), &"*".repeat(range.len()));
        }
    }
    text
}

/// A path as written in a file, seen from where that file is.
fn joined(from: &str, path: &str) -> String {
    let folder = from.rfind('/').map_or("", |at| &from[..=at]);
    if path.starts_with('/') { path.to_owned() } else { normal(&format!("{folder}{path}")) }
}

/// A path without `.` and, where it can be told without looking, without `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            "" if !parts.is_empty() => {}
            ".." if parts.last().is_some_and(|last| !matches!(*last, ".." | "")) => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join("/")
}
