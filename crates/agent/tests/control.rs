//! The control socket under people and programs that mean it harm or know no better. The agent behind it is a stand-in that counts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wayleave_agent::control::line::{Protocol, hear, listen, read};
use wayleave_agent::control::server::{Asked, serve};
use wayleave_agent::control::{PROTOCOL, Request, Response};
use wayleave_agent::limits::{CONTROL_CONNECTIONS_MAX, CONTROL_REQUEST_BYTES_MAX};

/// A directory of the test's own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("wayleave-control-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Somebody who answers, and how often it was asked.
fn agent(socket: &Path) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let (listener, count) = (listen(socket).unwrap(), asked.clone());
    let answer = move |Asked { answer, .. }: Asked| {
        count.fetch_add(1, Ordering::SeqCst);
        answer.send(Response::Done("here".into())).is_ok()
    };
    std::thread::spawn(move || serve(&listener, answer));
    asked
}

fn answer_to(socket: &Path, bytes: &[u8]) -> String {
    let stream = UnixStream::connect(socket).unwrap();
    // Whoever is refused before it has said all may find the socket closed.
    let _ = (&stream).write_all(bytes);
    let mut line = String::new();
    let _ = BufReader::new(&stream).read_line(&mut line);
    line
}

const STATUS: &[u8] = b"{\"version\":1,\"request\":\"status\"}\n";

#[test]
fn nonsense_other_versions_and_endless_lines_are_refused_with_words_and_never_handed_over() {
    let place = Place::new("nonsense");
    let asked = agent(&place.socket());
    let endless = vec![b'x'; CONTROL_REQUEST_BYTES_MAX as usize * 4];
    let deep = [b"{\"version\":1,\"request\":".as_slice(), &vec![b'['; 50_000], b"\n"].concat();
    let cases: [(&[u8], &str); 9] = [
        (b"\n", "not a request"),
        (b"hello\n", "not a request"),
        (b"{}\n", "missing field `version`"),
        (b"{\"version\":2,\"request\":{\"fly\":1}}\n", "speaks version 1 of the control messages, not 2"),
        (b"{\"version\":-1}\n", "not a request"),
        (b"{\"version\":1,\"request\":\"explode\"}\n", "unknown variant `explode`"),
        (b"\xff\xfe\0\n", "not a request"),
        (&endless, "longer than 65536 bytes"),
        (&deep, "not a request"),
    ];
    for (bytes, words) in cases {
        let answer = answer_to(&place.socket(), bytes);
        assert!(answer.starts_with("{\"refused\"") && answer.contains(words), "{words}: {answer}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(answer_to(&place.socket(), STATUS), "{\"done\":\"here\"}\n");
}

#[test]
fn those_who_say_nothing_take_no_more_than_their_share_of_connections_and_time() {
    let place = Place::new("silent");
    agent(&place.socket());
    let begin = Instant::now();
    let mut silent: Vec<UnixStream> =
        (0..CONTROL_CONNECTIONS_MAX).map(|_| UnixStream::connect(place.socket()).unwrap()).collect();
    // All threads are taken: who comes next is told so at once.
    let refused = loop {
        let answer = answer_to(&place.socket(), STATUS);
        if answer.contains("too many ask at once") {
            break answer;
        }
        assert!(begin.elapsed() < PROTOCOL.talk_max, "nobody is turned away: {answer}");
    };
    assert!(refused.starts_with("{\"refused\""));
    // Some of them say a byte now and then. It does not help them.
    let mut word = [0];
    while begin.elapsed() < PROTOCOL.talk_max + Duration::from_secs(2) {
        silent.iter_mut().step_by(2).for_each(|stream| drop(stream.write_all(b" ")));
        silent[0].set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if silent[0].read(&mut word).is_ok() {
            break;
        }
    }
    assert_eq!(word, *b"{", "a slow one is answered, and forgotten");
    assert_eq!(answer_to(&place.socket(), STATUS), "{\"done\":\"here\"}\n");
}

#[test]
fn the_time_for_a_line_is_for_all_of_it() {
    let protocol = Protocol { talk_max: Duration::from_millis(200), ..PROTOCOL };
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let begin = Instant::now();
    let speaker = std::thread::spawn(move || {
        while ours.write_all(b" ").is_ok() && begin.elapsed() < Duration::from_secs(5) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let heard = hear::<Request>(&protocol, &theirs);
    assert!(heard.unwrap_err().contains("no answer in time"));
    assert!(begin.elapsed() < Duration::from_secs(4));
    drop(theirs);
    speaker.join().unwrap();
}

#[test]
fn a_dead_predecessors_socket_is_replaced_and_nothing_else_is() {
    let place = Place::new("path");
    let socket = place.socket();
    drop(listen(&socket).unwrap());
    assert!(socket.exists(), "a dead one leaves its socket behind");
    listen(&socket).unwrap();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&socket).unwrap();

    let precious = place.0.join("precious");
    std::fs::write(&precious, "kept").unwrap();
    std::os::unix::fs::symlink(&precious, &socket).unwrap();
    assert!(listen(&socket).unwrap_err().to_string().contains("no socket"));
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "somebody's").unwrap();
    assert!(listen(&socket).unwrap_err().to_string().contains("no socket"));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "somebody's");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "kept");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_and_damaged_requests_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
    ) {
        let _ = read::<Request>(&PROTOCOL, &noise);
        let request = Request::Reload { file: Some("/etc/wayleave/network.toml".into()), confirm_s: Some(60) };
        let whole = serde_json::json!({ "version": 1, "request": request }).to_string();
        prop_assert_eq!(read::<Request>(&PROTOCOL, whole.as_bytes()), Ok(request));
        let mut bytes = whole.into_bytes();
        for (at, value) in damage {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        let _ = read::<Request>(&PROTOCOL, &bytes);
        for length in 0..bytes.len() {
            let _ = read::<Request>(&PROTOCOL, &bytes[..length]);
        }
    }
}
