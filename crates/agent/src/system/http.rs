//! Answers to questions over HTTP, for load balancers, orchestrators and monitoring: one line of a request in, a short text out.
//!
//! One thread for all connections. Each may say so much in so much time; when there are too many, the one that has been there for longest is
//! closed, so that who opens connections and says nothing is in nobody's way. Only the first line of a request is looked at, bodies
//! are not read, and every connection ends with its answer. What is answered is the caller's business; it must not wait for anything.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::limits::{HTTP_CONNECTIONS_MAX, HTTP_REQUEST_BYTES_MAX};

/// How long a connection may take.
const CONNECTION_MAX: Duration = Duration::from_secs(5);
/// Until connections are taken again after none could be: when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that are taken in a row before those that are there are looked at.
const ACCEPTED_MAX: usize = 64;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status: 200, 404, 503.
    pub status: u16,
    /// What it says, as plain text.
    pub text: String,
}

/// A request, as far as anybody here looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is asked for, with the query behind it.
    pub target: &'a str,
    /// Whether the answer's text is wanted: GET, not HEAD.
    pub has_body: bool,
}

impl<'a> Request<'a> {
    /// Reads the first line of a request's head.
    ///
    /// # Errors
    /// What is answered to something else.
    pub fn read(head: &'a [u8]) -> Result<Request<'a>, Reply> {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = std::str::from_utf8(line).unwrap_or_default().trim_end_matches('\r');
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [method @ ("GET" | "HEAD"), target, version] if version.starts_with("HTTP/1.") => {
                Ok(Request { target, has_body: *method == "GET" })
            }
            [_, _, version] if version.starts_with("HTTP/1.") => Err(Reply::new(405, "only GET and HEAD\n")),
            _ => Err(Reply::new(400, "this is no HTTP request\n")),
        }
    }

    /// Whether a request's head is there as a whole.
    pub fn has_ended(said: &[u8]) -> bool {
        said.windows(4).any(|window| window == b"\r\n\r\n") || said.windows(2).any(|window| window == b"\n\n")
    }
}

impl Reply {
    /// An answer in words.
    pub fn new(status: u16, text: impl Into<String>) -> Reply {
        Reply { status, text: text.into() }
    }

    /// As it is sent.
    pub fn bytes(&self, has_body: bool) -> Vec<u8> {
        let Reply { status, text } = self;
        let allow = if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{allow}\
             X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
            reason(*status),
            text.len()
        );
        let body = if has_body { text.as_str() } else { "" };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

/// What answers to a path.
pub type Answer = Box<dyn Fn(&str) -> Reply + Send>;

/// A running server; dropped, its port is closed.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens in the calling thread's network namespace.
    ///
    /// # Errors
    /// If the address is not to be had.
    pub fn start(address: SocketAddr, answer: Answer) -> io::Result<HttpServer> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let own = listener.try_clone()?;
        let mut work = Work { listener: own, connections: VecDeque::new(), answer };
        let thread = std::thread::Builder::new().name("http".into()).spawn(move || work.run())?;
        Ok(HttpServer { listener, thread: Some(thread) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Wakes the thread up, which finds that the listener is of no use any more.
        // SAFETY: the descriptor is open, and no memory is concerned.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RDWR) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    listener: TcpListener,
    /// The oldest first.
    connections: VecDeque<Connection>,
    answer: Answer,
}

struct Connection {
    stream: TcpStream,
    until: Instant,
    said: Vec<u8>,
}

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waits,
    Over,
}

impl Work {
    fn run(&mut self) {
        loop {
            let now = Instant::now();
            while self.connections.front().is_some_and(|connection| connection.until <= now) {
                self.connections.pop_front();
            }
            let ready = match self.wait(now) {
                Ok(ready) => ready,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let (answer, mut at) = (&self.answer, 0);
            self.connections.retain_mut(|connection| {
                at += 1;
                !ready[at] || connection.advance(answer) == Progress::Waits
            });
            if ready[0] && !self.accept() {
                return;
            }
        }
    }

    /// Waits until something happens; says what to look at: the listener first, then each connection.
    fn wait(&self, now: Instant) -> io::Result<Vec<bool>> {
        let connections = self.connections.iter().map(|connection| connection.stream.as_raw_fd());
        let all = std::iter::once(self.listener.as_raw_fd()).chain(connections);
        let mut polled: Vec<libc::pollfd> =
            all.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
        let left = self.connections.front().map(|oldest| oldest.until.saturating_duration_since(now).as_millis() + 1);
        let timeout = left.map_or(-1, |left| left.min(60_000) as i32);
        // SAFETY: the array has as many elements as it is said to have.
        let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(polled.iter().map(|polled| polled.revents != 0).collect())
    }

    /// Takes connections that have come. Says whether there may be more.
    fn accept(&mut self) -> bool {
        for _ in 0..ACCEPTED_MAX {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                // The listener was shut down.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return false,
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                    self.connections.clear();
                    std::thread::sleep(PAUSE);
                    return true;
                }
                // None waits, or one was given up before it was taken.
                Err(_) => return true,
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut connection = Connection { stream, until: Instant::now() + CONNECTION_MAX, said: Vec::new() };
            // Most have said all when they are taken.
            if connection.advance(&self.answer) == Progress::Waits {
                if self.connections.len() >= HTTP_CONNECTIONS_MAX {
                    self.connections.pop_front();
                }
                self.connections.push_back(connection);
            }
        }
        true
    }
}

impl Connection {
    /// Reads what has come, and answers when that is a request.
    fn advance(&mut self, answer: &Answer) -> Progress {
        let mut piece = [0; HTTP_REQUEST_BYTES_MAX];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Progress::Over,
                Ok(length) => self.said.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waits,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Progress::Over,
            }
            if self.said.len() > HTTP_REQUEST_BYTES_MAX {
                self.reply(&Reply::new(431, "the request is too long\n"), true);
                return Progress::Over;
            }
            if Request::has_ended(&self.said) {
                match Request::read(&self.said).map(|request| (answer(path(request.target)), request.has_body)) {
                    Ok((reply, has_body)) => self.reply(&reply, has_body),
                    Err(reply) => self.reply(&reply, true),
                }
                return Progress::Over;
            }
        }
    }

    /// There is room for so little in any socket; who does not take it is not waited for.
    fn reply(&mut self, reply: &Reply, has_body: bool) {
        let _ = self.stream.write_all(&reply.bytes(has_body));
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> HttpServer {
        let answer = |path: &str| match path {
            "/healthz" => Reply { status: 200, text: "ok\n".into() },
            "/readyz" => Reply { status: 503, text: "draining\n".into() },
            _ => Reply { status: 404, text: "nothing here\n".into() },
        };
        HttpServer::start(([127, 0, 0, 1], 0).into(), Box::new(answer)).unwrap()
    }

    fn ask(server: &HttpServer, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address().unwrap()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    #[test]
    fn requests_are_answered_and_what_is_none_is_told_so() {
        let server = server();
        let table = [
            ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", "ok\n"),
            ("GET /readyz?verbose HTTP/1.0\r\n\r\n", "503 Service Unavailable", "draining\n"),
            ("HEAD /healthz HTTP/1.1\n\n", "200 OK", ""),
            ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found", "nothing here\n"),
            ("POST /healthz HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "only GET and HEAD\n"),
            ("hello\r\n\r\n", "400 Bad Request", "this is no HTTP request\n"),
            ("\u{1}\u{2}\n\n", "400 Bad Request", "this is no HTTP request\n"),
        ];
        for (request, status, text) in table {
            let said = ask(&server, request);
            assert!(said.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {said:?}");
            assert!(said.ends_with(&format!("Connection: close\r\n\r\n{text}")), "{request:?}: {said:?}");
        }
        let long = ask(&server, &"x".repeat(HTTP_REQUEST_BYTES_MAX + 1));
        assert!(long.starts_with("HTTP/1.1 431 "), "{long:?}");
        let address = server.address().unwrap();
        drop(server);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_request_may_come_in_pieces() {
        let server = server();
        let mut stream = TcpStream::connect(server.address().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in ["GET /hea", "lthz HTTP/1.1\r\nHost", ": a\r\n\r", "\n"] {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.ends_with("ok\n"), "{said:?}");
    }

    #[test]
    fn who_opens_a_thousand_connections_and_says_nothing_is_in_nobodys_way() {
        // SAFETY: the structure is written by the first call and read by the second, and lives as long as both.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
            limit.rlim_cur = limit.rlim_max.min(4_096);
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        }
        let server = server();
        let open = |n: usize| {
            let mut stream = TcpStream::connect(server.address().unwrap()).unwrap();
            // Half of them begin a request.
            let begun = if n.is_multiple_of(2) { stream.write_all(b"GET /healthz HT") } else { Ok(()) };
            begun.map(|()| stream).unwrap()
        };
        let silent: Vec<TcpStream> = (0..1_000).map(open).collect();
        let mut took: Vec<Duration> = (0..500)
            .map(|_| {
                let begin = Instant::now();
                assert!(ask(&server, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
                begin.elapsed()
            })
            .collect();
        took.sort_unstable();
        let ms = |at: usize| took[at].as_secs_f64() * 1_000.0;
        println!(
            "with {} silent connections an answer took {:.2} ms (median), {:.2} (p99), {:.2} (longest)",
            silent.len(),
            ms(250),
            ms(495),
            ms(499)
        );
        // Twenty are wanted; a busy machine is given time.
        assert!(ms(495) < 200.0);
    }
}
