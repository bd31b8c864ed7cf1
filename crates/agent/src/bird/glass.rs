//! A looking glass: what others may ask of BIRD over HTTP, in the way in which the front ends of bird-lg ask their proxies.
//!
//! `GET /bird?q=show+protocols` (bird-lg-go, and bird-lg for Python) and `/bird6?q=...`, and `/traceroute?q=ADDRESS`. In: a request's
//! first line. Out: an answer in plain text. Only what [`allowed`] knows is passed on, rebuilt word by word, over a connection that
//! can change nothing and an answer cut at a bound. A connection carries one request, and takes a thread for a bounded time.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Connection;
use super::reply::Reply as BirdReply;
use crate::limits::{GLASS_ANSWER_BYTES_MAX, GLASS_CONNECTIONS_MAX, GLASS_REQUEST_BYTES_MAX};
use crate::system::http::{Reply, Request};

/// How long a request may take to come, BIRD to answer, and a traceroute to end.
const REQUEST_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(10);
const TRACE_MAX: &str = "20";

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A command for BIRD, which only shows something.
    Bird(String),
    /// The way to an address.
    Trace(IpAddr),
}

/// Reads what a request asks for: `/bird?q=show+protocols`.
///
/// # Errors
/// Says what is not answered, and why.
pub fn question(target: &str) -> Result<Question, Reply> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("q=")).map(decoded);
    let asked = match asked {
        Some(Some(text)) => text,
        Some(None) => return Err(Reply::new(400, "the query is not encoded as it must be\n")),
        None => String::new(),
    };
    match path.trim_end_matches('/') {
        "/bird" | "/bird4" | "/bird6" => allowed(&asked).map(Question::Bird).ok_or_else(|| Reply::new(403, REFUSED)),
        "/traceroute" | "/traceroute4" | "/traceroute6" => asked
            .trim()
            .parse()
            .map(Question::Trace)
            .map_err(|_| Reply::new(403, "an address, and nothing else, is traced\n")),
        _ => Err(Reply::new(404, "there is /bird?q=... and /traceroute?q=...\n")),
    }
}

const REFUSED: &str = "only these are answered: show status, show protocols [all [NAME]], show route for ADDRESS [all], \
                       show route for ADDRESS|PREFIX [table TABLE] [all] [primary], show route PREFIX ..., show route count\n";

/// The command, if it is one of those that are answered. What is passed on is made anew of words that are known, of addresses that were
/// read as such, and of names without anything odd in them; nothing may dump whole tables.
pub fn allowed(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let command = match words.as_slice() {
        ["show", "status"] => "show status".to_owned(),
        ["show", "protocols"] => "show protocols".to_owned(),
        ["show", "protocols", "all"] => "show protocols all".to_owned(),
        ["show", "protocols", name] => format!("show protocols {}", symbol(name)?),
        ["show", "protocols", "all", name] => format!("show protocols all {}", symbol(name)?),
        ["show", "route", "count"] => "show route count".to_owned(),
        ["show", "route", "for", place, rest @ ..] => {
            format!("show route for {}{}", prefix(place)?, route_words(rest)?)
        }
        ["show", "route", place, rest @ ..] => format!("show route {}{}", prefix(place)?, route_words(rest)?),
        _ => return None,
    };
    Some(command)
}

/// `all`, `primary`, `table X`, each once.
fn route_words(mut words: &[&str]) -> Option<String> {
    let (mut out, mut seen) = (String::new(), Vec::new());
    while let [word, rest @ ..] = words {
        if seen.contains(word) {
            return None;
        }
        seen.push(word);
        words = match (*word, rest) {
            ("all" | "primary", rest) => {
                out.push_str(&format!(" {word}"));
                rest
            }
            ("table", [name, rest @ ..]) => {
                out.push_str(&format!(" table {}", symbol(name)?));
                rest
            }
            _ => return None,
        };
    }
    Some(out)
}

/// A name of BIRD's. Words of its language are harmless in the places where names are passed on: it refuses them.
fn symbol(word: &str) -> Option<&str> {
    let is_symbol = word.len() <= 64 && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (is_symbol && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')).then_some(word)
}

fn prefix(word: &str) -> Option<String> {
    let address = || word.parse::<IpAddr>().ok().map(|address| address.to_string());
    word.parse::<IpNet>().ok().map(|prefix| prefix.trunc().to_string()).or_else(address)
}

/// `show+route%20for`: as forms encode it.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [byte, more @ ..] = rest {
        rest = match (byte, more) {
            (b'+', more) => {
                bytes.push(b' ');
                more
            }
            (b'%', [high, low, more @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                more
            }
            (b'%', _) => return None,
            (byte, more) => {
                bytes.push(*byte);
                more
            }
        };
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Answers for as long as the listener is of use.
pub fn serve(listener: &TcpListener, socket: PathBuf) {
    let (socket, busy) = (Arc::new(socket), Arc::new(()));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, most likely: they come back.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if Arc::strong_count(&busy) > GLASS_CONNECTIONS_MAX {
            let _ = stream.set_nonblocking(true);
            let _ = respond(&stream, &Reply::new(503, "too many ask at once; try again\n"), true);
            continue;
        }
        let (socket, guard) = (socket.clone(), busy.clone());
        let talk = move || {
            let (reply, has_body) = converse(&stream, &socket);
            let _ = respond(&stream, &reply, has_body);
            drop(guard);
        };
        let _ = std::thread::Builder::new().name("looking glass".into()).spawn(talk);
    }
}

/// The answer to a request, and whether its text is sent.
fn converse(stream: &TcpStream, socket: &Path) -> (Reply, bool) {
    let Ok(head) = head(stream) else {
        return (Reply::new(400, "not a request, or not in time\n"), true);
    };
    let request = match Request::read(&head) {
        Ok(request) => request,
        Err(reply) => return (reply, true),
    };
    let reply = question(request.target).map_or_else(|refusal| refusal, |question| answer(question, socket));
    (reply, request.has_body)
}

fn answer(question: Question, socket: &Path) -> Reply {
    let command = match question {
        Question::Trace(address) => return trace(address),
        Question::Bird(command) => command,
    };
    let ask = |mut bird: Connection| {
        bird.restrict()?;
        bird.ask_any(&command)
    };
    match Connection::open(socket, ANSWER_MAX).and_then(ask) {
        Ok(answer) => Reply::new(200, plain(&answer)),
        // Where its socket is, is nobody's business.
        Err(_) => Reply::new(502, "BIRD does not answer\n"),
    }
}

/// A request's head as a whole, so that the other end is not cut off while it sends.
fn head(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let (deadline, mut head, mut piece) = (Instant::now() + REQUEST_MAX, Vec::new(), [0; 1_024]);
    while !Request::has_ended(&head) {
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let got = stream.read(&mut piece)?;
        head.extend_from_slice(&piece[..got]);
        if got == 0 || left.is_zero() || head.len() > GLASS_REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

/// An answer as `birdc` prints it.
fn plain(answer: &BirdReply) -> String {
    let mut text = String::new();
    for line in answer.lines.iter().filter(|line| !(line.code == 0 && line.text.is_empty())) {
        if text.len() + line.text.len() > GLASS_ANSWER_BYTES_MAX {
            text.push_str("... and more, which is not shown\n");
            break;
        }
        text.push_str(line.text.trim_end());
        text.push('\n');
    }
    text
}

fn trace(address: IpAddr) -> Reply {
    let mut command = Command::new("timeout");
    command.args([TRACE_MAX, "traceroute", "-q", "1", "-w", "1", "-m", "30"]).arg(address.to_string());
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() || !output.stdout.is_empty() => {
            let text = &output.stdout[..output.stdout.len().min(GLASS_ANSWER_BYTES_MAX)];
            Reply::new(200, String::from_utf8_lossy(text))
        }
        _ => Reply::new(501, "there is no traceroute here\n"),
    }
}

fn respond(mut stream: &TcpStream, reply: &Reply, has_body: bool) -> io::Result<()> {
    stream.set_write_timeout(Some(REQUEST_MAX))?;
    stream.write_all(&reply.bytes(has_body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(line: &str) -> Result<Question, Reply> {
        Request::read(line.as_bytes()).and_then(|request| question(request.target))
    }

    #[test]
    fn what_front_ends_ask_is_passed_on_in_words_of_our_own() {
        let check = |line: &str, expected: &str| {
            assert_eq!(asked(&format!("GET {line} HTTP/1.1")), Ok(Question::Bird(expected.into())), "{line}");
        };
        check("/bird?q=show+protocols", "show protocols");
        check("/bird?q=show%20protocols%20all%20n_a_v4", "show protocols all n_a_v4");
        check("/bird6?q=show+route+for+fd00%3A%3A1+all", "show route for fd00::1 all");
        check("/bird?q=show+route+for+172.20.3.7%2F24+all+primary", "show route for 172.20.3.0/24 all primary");
        check("/bird?q=show++route+10.0.0.0%2F8+table+master4", "show route 10.0.0.0/8 table master4");
        check("/bird?x=1&q=show+status", "show status");
        check("/bird?q=show+route+count", "show route count");
        let traced = asked("GET /traceroute?q=172.20.0.53 HTTP/1.1");
        assert_eq!(traced, Ok(Question::Trace([172, 20, 0, 53].into())));
    }

    #[test]
    fn everything_else_is_refused() {
        let check = |line: &str, status: u16| {
            let got = asked(line);
            assert!(matches!(got, Err(Reply { status: of, .. }) if of == status), "{line}: {got:?}");
        };
        for query in [
            "",
            "down",
            "configure",
            "disable+all",
            "show",
            "show+route",
            "show+route+all",
            "show+memory",
            "show+route+export+x",
            "show+route+where+true",
            "show+route+for+example.org",
            "show+route+for+1.2.3.4+all+all",
            "show+route+for+1.2.3.4+table",
            "show+protocols+%22x%22",
            "show+protocols+a%3Bdown",
            "show+status%0Adown",
            "show+status+%00",
            "show+protocols+all+a+b",
            "show+route+for+1.2.3.4;down",
            "eval+1",
            "echo+all",
            "restrict",
            "SHOW+STATUS",
            "show+protocols+-x",
        ] {
            let got = asked(&format!("GET /bird?q={query} HTTP/1.1"));
            assert!(matches!(got, Err(Reply { status: 400 | 403, .. })), "{query}: {got:?}");
        }
        check("GET /bird?q=show+%zz HTTP/1.1", 400);
        check("GET /bird?q=show+status%2 HTTP/1.1", 400);
        check("POST /bird?q=show+status HTTP/1.1", 405);
        check("GET /etc/passwd HTTP/1.1", 404);
        check("GET /bird/../x?q=show+status HTTP/1.1", 404);
        check("GET /traceroute?q=-n+1.2.3.4 HTTP/1.1", 403);
        check("GET /traceroute?q=1.2.3.4;reboot HTTP/1.1", 403);
        check("GET /bird?q=show status HTTP/1.1", 400);
        check("hello", 400);
        check("", 400);
    }

    proptest! {
        #[test]
        fn nothing_but_plain_words_is_ever_passed_on(text in "(show |route |for |protocols |all |table )*[ -~]{0,40}") {
            if let Some(command) = allowed(&text) {
                prop_assert!(command.starts_with("show "), "{}", command);
                prop_assert!(command.bytes().all(|c| c.is_ascii_alphanumeric() || b" ._:/".contains(&c)), "{}", command);
                prop_assert!(!command.contains("export") && command.len() < 300, "{}", command);
            }
        }

        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,200}") {
            let _ = asked(&line);
        }
    }
}
