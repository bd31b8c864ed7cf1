//! One table per enum of findings: code and severity of each kind, as a function and as a list.
//!
//! The list is what `--explain` and `docs/findings.md` are made of, so a kind can't have a code that nobody can look up.

/// Declares `row` (code and severity of a kind) and `ROWS` (all of them) from one table.
macro_rules! rows {
    ($value:ident { $( $pattern:pat => ($code:literal, $severity:ident), )+ }
     $( nested { $( $inner:pat => $expr:expr, )+ } )?) => {
        /// Code and severity.
        pub(super) fn row(&$value) -> (&'static str, $crate::check::Severity) {
            match $value {
                $( $( $inner => $expr, )+ )?
                $( $pattern => ($code, $crate::check::Severity::$severity), )+
            }
        }

        /// Code and severity of every kind.
        pub(super) const ROWS: &'static [(&'static str, $crate::check::Severity)] =
            &[$( ($code, $crate::check::Severity::$severity) ),+];
    };
}

pub(super) use rows;
