//! Which files are under version control: what a git repository's index says, read without running git.
//!
//! The index is the list of tracked files (gitformat-index(5), versions 2 to 4). What can't be understood is taken as not
//! tracked: a warning that may be wrong is worse than none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of an index that are read; a million files take 100 MB.
const INDEX_BYTES_MAX: u64 = 256 << 20;
/// Bytes of an entry before its name: times, device, mode, owner, size, a SHA-1, flags.
const ENTRY_BYTES: usize = 62;

/// Repositories seen so far: each one's root and tracked files.
#[derive(Default)]
pub struct Repositories {
    /// The root of each folder's repository, if it is in one.
    roots: BTreeMap<PathBuf, Option<PathBuf>>,
    tracked: BTreeMap<PathBuf, BTreeSet<Vec<u8>>>,
}

impl Repositories {
    /// The root of the repository in which a file is tracked.
    pub fn tracking(&mut self, path: &Path) -> Option<PathBuf> {
        let path = fs::canonicalize(path).ok()?;
        let root = self.root(path.parent()?)?;
        let name = path.strip_prefix(&root).ok()?.as_os_str().as_encoded_bytes();
        let tracked = self.tracked.entry(root.clone()).or_insert_with_key(|root| index(root).unwrap_or_default());
        tracked.contains(name).then_some(root)
    }

    fn root(&mut self, folder: &Path) -> Option<PathBuf> {
        if let Some(known) = self.roots.get(folder) {
            return known.clone();
        }
        let root = folder.ancestors().find(|ancestor| ancestor.join(".git").exists()).map(Path::to_owned);
        self.roots.insert(folder.to_owned(), root.clone());
        root
    }
}

/// The tracked files of the repository at a root.
fn index(root: &Path) -> Option<BTreeSet<Vec<u8>>> {
    let mut folder = root.join(".git");
    // In a work tree or a submodule it is a file that says where.
    if folder.is_file() {
        let text = fs::read_to_string(&folder).ok()?;
        folder = root.join(text.strip_prefix("gitdir:")?.trim());
    }
    let path = folder.join("index");
    if fs::metadata(&path).ok()?.len() > INDEX_BYTES_MAX {
        return None;
    }
    entries(&fs::read(path).ok()?)
}

fn entries(bytes: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.get(..4)? != b"DIRC" {
        return None;
    }
    let version = word(4).filter(|version| (2..=4).contains(version))?;
    let (mut names, mut at, mut last) = (BTreeSet::new(), 12, Vec::new());
    for _ in 0..word(8)? {
        let start = at;
        let flags = u16::from_be_bytes(bytes.get(at + ENTRY_BYTES - 2..at + ENTRY_BYTES)?.try_into().ok()?);
        at += ENTRY_BYTES + if version >= 3 && flags & 0x4000 != 0 { 2 } else { 0 };
        if version == 4 {
            let (cut, used) = varint(bytes.get(at..)?)?;
            at += used;
            last.truncate(last.len().checked_sub(cut)?);
        } else {
            last.clear();
        }
        let length = bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        last.extend_from_slice(&bytes[at..at + length]);
        at += length + 1;
        if version < 4 {
            // Entries are padded to eight bytes, with at least one zero.
            at = start + (at - start).next_multiple_of(8);
        }
        names.insert(last.clone());
    }
    Some(names)
}

/// A number in seven-bit groups, the highest first, each but the last counting one more (as in pack offsets).
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = usize::from(bytes.first()? & 0x7f);
    let mut used = 1;
    while bytes[used - 1] & 0x80 != 0 {
        value = (value.checked_add(1)?.checked_mul(128)?) | usize::from(bytes.get(used)? & 0x7f);
        used += 1;
    }
    Some((value, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_index() {
        for noise in [&b""[..], b"DIRC", b"DIRC\0\0\0\x02\0\0\0\x09short", b"DIRC\0\0\0\x04\xff\xff\xff\xff"] {
            assert_eq!(entries(noise), None);
        }
    }

    #[test]
    fn names_are_read_with_their_padding() {
        let mut bytes = b"DIRC\0\0\0\x02\0\0\0\x02".to_vec();
        for name in ["keys/a.key", "b"] {
            let start = bytes.len();
            bytes.extend([0; ENTRY_BYTES]);
            bytes.extend(name.as_bytes());
            let padded = (bytes.len() - start + 1).next_multiple_of(8);
            bytes.resize(start + padded, 0);
        }
        let names = entries(&bytes).unwrap_or_default();
        assert_eq!(names, [b"keys/a.key".to_vec(), b"b".to_vec()].into());
    }
}
