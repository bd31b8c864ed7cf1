//! Whoever listens at BIRD's socket may be anybody: a stand-in that sends what it likes, or nothing.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wayleave_agent::bird::{Connection, SocketError};

use super::two::Place;

const GREETING: &[u8] = b"0001 BIRD 2.0.12 ready.\n";

/// Something that greets, takes one command and answers as it likes.
fn stand_in(name: &str, answer: impl Fn(&mut UnixStream) + Send + 'static) -> (Place, PathBuf) {
    let place = Place::new(name);
    let socket = place.path("ctl");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(GREETING);
            let _ = stream.read(&mut [0; 4_096]);
            answer(&mut stream);
        }
    });
    (place, socket)
}

fn ask(socket: &Path) -> SocketError {
    let mut connection = Connection::open(socket, Duration::from_millis(600)).unwrap();
    connection.protocols().unwrap_err()
}

#[test]
fn rubbish_half_lines_silence_and_a_closed_socket_end_in_words_and_in_time() {
    let check = |name: &'static str, answer: &'static [u8], words: &str| {
        let (_place, socket) = stand_in(name, move |stream| {
            let _ = stream.write_all(answer);
            if !answer.ends_with(b"!") {
                // Nothing more, and it stays open: the other end closes.
                let _ = stream.read(&mut [0; 8]);
            }
        });
        let (begin, error) = (Instant::now(), ask(&socket));
        assert!(format!("{error:?} {error}").contains(words), "{name}: {error:?}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{name}: {:?}", begin.elapsed());
    };
    check("rubbish", b"\x00\xff\x17nonsense\n", "Nonsense");
    check("page", b"HTTP/1.1 400 Bad Request\r\n\r\n", "Nonsense");
    check("half", b"1002-device1    Dev", "no answer in time");
    check("silence", b"", "no answer in time");
    check("closed", b"1002-half a line!", "it was closed");
    check("more", b"0000 \n0000 \n", "Unasked");
    check("refusal", b"8003 no\n", "BIRD refuses `show protocols all`: no");
}

#[test]
fn an_endless_answer_is_given_up_at_its_bound() {
    let (_place, socket) = stand_in("endless", |stream| {
        let piece = b"1002-name BGP --- up 18:00:00 Established\n".repeat(1_000);
        while stream.write_all(&piece).is_ok() {}
    });
    let mut connection = Connection::open(&socket, Duration::from_secs(60)).unwrap();
    let error = connection.protocols().unwrap_err();
    assert!(matches!(error, SocketError::Nonsense(_)) && format!("{error:?}").contains("TooLong"), "{error:?}");
}

#[test]
fn an_answer_that_drips_is_given_up_in_time() {
    let (_place, socket) = stand_in("drips", |stream| {
        while stream.write_all(b"1006-\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let begin = Instant::now();
    assert!(matches!(ask(&socket), SocketError::Broken(_)));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn whoever_greets_otherwise_is_no_bird_and_a_full_queue_is_not_waited_for() {
    let place = Place::new("greeting");
    let nobody = Connection::open(&place.path("nothing"), Duration::from_secs(1)).unwrap_err();
    assert!(nobody.to_string().starts_with("no BIRD listens at "), "{nobody}");
    let listener = UnixListener::bind(place.path("other")).unwrap();
    std::thread::spawn(move || drop(listener.accept().map(|(mut stream, _)| stream.write_all(b"0000 hello\n"))));
    let other = Connection::open(&place.path("other"), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(other, SocketError::Greeting(_)), "{other:?}");
    // Takes no connection, as a process that is stopped: its queue holds some, and then there is no room.
    let deaf = UnixListener::bind(place.path("deaf")).unwrap();
    // SAFETY: the descriptor is open; its queue is made shorter.
    assert_eq!(unsafe { libc::listen(deaf.as_raw_fd(), 1) }, 0);
    let begin = Instant::now();
    let try_it = |_| Connection::open(&place.path("deaf"), Duration::from_millis(50)).unwrap_err();
    let errors: Vec<SocketError> = (0..5).map(try_it).collect();
    assert!(matches!(errors[0], SocketError::Broken(_)), "there is room, and nobody greets: {errors:?}");
    assert!(format!("{:?}", errors[4]).contains("it takes no connections"), "{errors:?}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let long = place.path(&"x".repeat(200));
    assert!(matches!(Connection::open(&long, Duration::from_secs(1)), Err(SocketError::Nobody { .. })));
}
