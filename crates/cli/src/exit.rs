//! Exit codes: one table for all commands.

use std::fmt;
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything as wanted.
    Fine,
    /// It failed; the reason is on stderr.
    Failed,
    /// Differences were found (`--diff`).
    Differences,
    /// Warnings under `--strict`.
    Warnings,
    /// It works in part only: a pair is lost.
    Degraded,
    /// The command line makes no sense.
    Usage,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Differences => 2,
            Exit::Warnings => 3,
            Exit::Degraded => 4,
            Exit::Usage => 64,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// As an error's context it says with which code to exit; as text it is not shown.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code())
    }
}

impl std::error::Error for Exit {}
