//! What BIRD answers on its control socket, taken apart; pure.
//!
//! A line begins with four digits and `-`, or a blank if it is the answer's last; a line that begins with a blank has the code of
//! the one before. Codes that begin with 8 or 9 are refusals: of what was asked, or of how. In go bytes as they come, out comes a
//! [`Reply`] when its last line is there. Whatever else comes is an error, and nothing is kept beyond a bound.

use crate::limits::{BIRD_LINE_BYTES_MAX, BIRD_REPLY_BYTES_MAX, BIRD_REPLY_LINES_MAX};

/// One line, without what it is framed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its code, or that of the line that it goes on from.
    pub code: u16,
    /// Its text; what is not UTF-8 is replaced.
    pub text: String,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its lines; the last one says how it ended.
    pub lines: Vec<Line>,
}

/// What is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that BIRD does not write.
    #[error("line {line} of its answer is none of BIRD's: {text:?}")]
    Nonsense {
        /// Which line, from 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// Something follows an answer that is at its end.
    #[error("it says more than it was asked: {0:?}")]
    Unasked(String),
    /// Too long.
    #[error("its answer is longer than {0}")]
    TooLong(&'static str),
}

impl Reply {
    /// The code that says how it ended.
    pub fn code(&self) -> u16 {
        self.last().code
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&str> {
        let last = self.last();
        (last.code >= 8_000).then_some(last.text.as_str())
    }

    /// Whether it has a line of a code.
    pub fn has(&self, code: u16) -> bool {
        self.lines.iter().any(|line| line.code == code)
    }

    fn last(&self) -> &Line {
        self.lines.last().expect("a reply ends with a line")
    }
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Assembly {
    lines: Vec<Line>,
    piece: Vec<u8>,
    bytes: usize,
}

impl Assembly {
    /// Takes what has come; the answer, once it is whole.
    ///
    /// # Errors
    /// If it is none, or is too long. Nothing sensible can follow on that connection.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<Option<Reply>, ReplyError> {
        self.bytes += bytes.len();
        if self.bytes > BIRD_REPLY_BYTES_MAX {
            return Err(ReplyError::TooLong("a full answer may be"));
        }
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.piece.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.piece);
            if self.take(&line)? {
                return match rest {
                    [] => Ok(Some(Reply { lines: std::mem::take(&mut self.lines) })),
                    more => Err(ReplyError::Unasked(beginning(more))),
                };
            }
        }
        self.piece.extend_from_slice(rest);
        if self.piece.len() > BIRD_LINE_BYTES_MAX {
            return Err(ReplyError::TooLong("a line of it may be"));
        }
        Ok(None)
    }

    /// Takes one line; whether it is the last.
    fn take(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        if line.len() > BIRD_LINE_BYTES_MAX {
            return Err(ReplyError::TooLong("a line of it may be"));
        }
        if self.lines.len() >= BIRD_REPLY_LINES_MAX {
            return Err(ReplyError::TooLong("so many lines may be"));
        }
        let (code, text, is_last) = match (line, self.lines.last()) {
            // What is logged, for those who asked for it; nobody here does.
            ([b'+', ..], _) => return Ok(false),
            ([b' ', text @ ..], Some(before)) => (before.code, text, false),
            ([a, b, c, d, mark @ (b'-' | b' '), text @ ..], _) if [a, b, c, d].iter().all(|c| c.is_ascii_digit()) => {
                let code = [a, b, c, d].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'));
                (code, text, *mark == b' ')
            }
            _ => return Err(ReplyError::Nonsense { line: self.lines.len() + 1, text: beginning(line) }),
        };
        self.lines.push(Line { code, text: String::from_utf8_lossy(text).into_owned() });
        Ok(is_last)
    }
}

/// As much of something as fits into a sentence.
fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answer that a text is.
    pub fn reply(text: &str) -> Reply {
        Assembly::default().handle(text.as_bytes()).expect("no nonsense").expect("a whole answer")
    }

    #[test]
    fn lines_have_the_code_of_the_line_that_they_go_on_from() {
        let got = reply("2002-Name       Proto\n1002-device1    Device\n k4         Kernel\n \n0000 \n");
        let lines: Vec<(u16, &str)> = got.lines.iter().map(|line| (line.code, line.text.as_str())).collect();
        let expected =
            [(2002, "Name       Proto"), (1002, "device1    Device"), (1002, "k4         Kernel"), (1002, "")];
        assert_eq!(lines[..4], expected);
        assert_eq!((lines[4], got.code(), got.refusal()), ((0, ""), 0, None));
        assert!(got.has(1002) && !got.has(1006));
    }

    #[test]
    fn refusals_are_known_by_their_codes() {
        assert_eq!(reply("8001 Network not found\n").refusal(), Some("Network not found"));
        assert_eq!(reply("0002-Reading\n8002 a.conf:15:1 syntax error\n").refusal(), Some("a.conf:15:1 syntax error"));
        assert_eq!(reply("9001 syntax error\n").code(), 9001);
        assert_eq!(reply("0018 Reconfiguration confirmed\n").refusal(), None);
    }

    #[test]
    fn what_bird_never_writes_is_an_error() {
        let check = |text: &[u8], words: &str| {
            let got = Assembly::default().handle(text);
            assert!(got.as_ref().is_err_and(|error| error.to_string().contains(words)), "{text:?}: {got:?}");
        };
        check(b"hello\n", "line 1 of its answer is none of BIRD's: \"hello\"");
        check(b" goes on from nothing\n", "line 1");
        check(b"1002-fine\n00x0 \n", "line 2");
        check(b"\n", "line 1");
        check(b"12\n", "line 1");
        check(b"\xff\xfe\xfd\xfc-\n", "line 1");
        check(b"0000 \n0000 \n", "more than it was asked");
        check(&vec![b'x'; BIRD_LINE_BYTES_MAX + 1], "longer than a line of it may be");
        check(&b"1002-\n".repeat(BIRD_REPLY_LINES_MAX + 1), "longer than so many lines may be");
    }

    #[test]
    fn an_answer_without_an_end_is_given_up_at_a_bound() {
        let mut assembly = Assembly::default();
        let piece = [b"1002-".as_slice(), &[b'x'; 1_000], b"\n"].concat().repeat(60);
        let outcome = std::iter::repeat_with(|| assembly.handle(&piece)).find_map(Result::err);
        assert!(matches!(outcome, Some(ReplyError::TooLong(_))), "{outcome:?}");
        assert!(assembly.bytes <= BIRD_REPLY_BYTES_MAX + piece.len());
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_however_it_is_cut(cuts in proptest::collection::vec(1_usize..20, 0..40)) {
            let text = "1000-BIRD 2.0.12\n1011-Router ID is 10.0.0.1\n Hostname is vm\n+log\n0013 Daemon is up and running\n";
            let (mut assembly, mut rest, mut got) = (Assembly::default(), text.as_bytes(), None);
            for cut in cuts.into_iter().chain([text.len()]) {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                rest = more;
                got = got.or(assembly.handle(piece).unwrap());
            }
            prop_assert_eq!(got, Some(reply(text)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Assembly::default().handle(&bytes);
        }
    }
}
