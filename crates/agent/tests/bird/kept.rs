//! BIRD kept as wanted: changed, refused, killed, stopped, left to a successor, the administrator's own.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wayleave_agent::bird::{Connection, End, Paths, Report, Service, Theirs};
use wayleave_agent::system::signals::Signals;

use super::two::{Host, Place, Running, bird, can_run, configuration, until, wire};
use super::{PATIENCE, named};

const THEIRS: &str = r#"
protocol static st { ipv4; route 172.20.1.0/24 blackhole; route 172.20.2.0/24 blackhole; }
protocol bgp good { local 10.9.0.2 as 64513; neighbor 10.9.0.1 as 64512; connect delay time 1; error wait time 1, 2;
    ipv4 { import all; export all; }; }
"#;

/// Our half, with an import filter.
fn ours(filter: &str) -> String {
    let session = format!(
        "protocol bgp good {{ local 10.9.0.1 as 64512; neighbor 10.9.0.2 as 64513; connect delay time 1; error wait time 1, 2;
    ipv4 {{ import {filter}; export none; }}; }}"
    );
    configuration("10.0.0.1", &session)
}

/// A service in a host's network namespace, with what it told last.
struct Kept {
    service: Option<Service>,
    told: Arc<Mutex<Report>>,
}

impl Kept {
    fn start(host: &Host, paths: &Paths) -> Kept {
        let told = Arc::new(Mutex::new(Report::default()));
        let (to, namespace) = (told.clone(), std::fs::File::open(format!("/proc/{}/ns/net", host.pid())).unwrap());
        let begin = || {
            // SAFETY: the descriptor is open, and only this thread, which ends soon, goes there, with those that it starts.
            assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            // As in an agent, whose threads all leave these signals to one.
            let _ = Signals::block().unwrap();
            Service::start(paths.clone(), Vec::new(), move |report| *to.lock().unwrap() = report).unwrap()
        };
        let service = std::thread::scope(|scope| scope.spawn(begin).join().unwrap());
        Kept { service: Some(service), told }
    }

    fn want(&self, text: &str) {
        self.service.as_ref().unwrap().want(Some(text.to_owned()));
    }

    fn report(&self) -> Report {
        self.told.lock().unwrap().clone()
    }

    fn until_as_wanted(&self) {
        until(|| Some(()).filter(|()| self.report().is_as_wanted));
    }

    fn until_problem(&self, words: &str) -> String {
        until(|| self.report().problem.filter(|problem| problem.contains(words)))
    }

    fn end(mut self, end: End) {
        self.service.take().unwrap().end(end);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(service) = self.service.take() {
            service.end(End::Remove);
        }
    }
}

fn paths(place: &Place) -> Paths {
    Paths {
        program: "bird".into(),
        configuration: place.path("bird.conf"),
        socket: place.path("bird.ctl"),
        ends_with_us: false,
        theirs: None,
    }
}

/// Since when the session is up, to the second, and how many routes were accepted, once it is.
fn session(socket: &Path) -> Option<(String, u64)> {
    let all = Connection::open(socket, PATIENCE).and_then(|mut bird| bird.protocols()).ok()?;
    let good = named(&all, "good");
    // BIRD reckons the time anew for each answer, and is now and then a millisecond off.
    let since = good.since.split('.').next().unwrap_or_default().to_owned();
    (good.words == "Established").then(|| Some((since, good.channels[0].imported?)))?
}

fn process(paths: &Paths) -> Option<i32> {
    std::fs::read_to_string(paths.configuration.with_extension("pid")).ok()?.trim().parse().ok()
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: takes numbers; the process is this test's.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn changes_keep_the_session_and_what_is_refused_changes_nothing() {
    if !can_run("changes_keep_the_session") {
        return;
    }
    let (place, (a, b)) = (Place::new("changes"), wire());
    std::fs::write(place.path("b.conf"), configuration("10.0.0.2", THEIRS)).unwrap();
    let _theirs = bird(&b, &place.path("b.conf"));
    let paths = paths(&place);
    let kept = Kept::start(&a, &paths);
    kept.want(&ours("all"));
    let (since, _) = until(|| session(&paths.socket).filter(|(_, routes)| *routes == 2));
    kept.until_as_wanted();
    assert_eq!(kept.report().state, "running");
    kept.want(&ours("where net = 172.20.1.0/24"));
    let (still, _) = until(|| session(&paths.socket).filter(|(_, routes)| *routes == 1));
    assert_eq!(still, since, "a filter that changes judges all routes again, and the session stays up");
    kept.until_as_wanted();
    let before = std::fs::read_to_string(&paths.configuration).unwrap();
    kept.want(&ours("all").replace("neighbor", "neighbour"));
    let problem = kept.until_problem("BIRD refuses its configuration; what was in force stays");
    assert!(problem.contains("bird.conf.new:4:") && problem.contains("syntax error"), "{problem}");
    assert_eq!(std::fs::read_to_string(&paths.configuration).unwrap(), before);
    assert_eq!(session(&paths.socket), Some((since.clone(), 1)));
    kept.want(&ours("all"));
    until(|| session(&paths.socket).filter(|(_, routes)| *routes == 2));
    kept.until_as_wanted();
    assert_eq!((kept.report().problem, session(&paths.socket).unwrap().0), (None, since));
    // BIRD was told to go back unless that is confirmed: it was.
    let mut connection = Connection::open(&paths.socket, PATIENCE).unwrap();
    assert_eq!(connection.ask("configure confirm").unwrap().code(), 19, "nothing to do");
    let pid = process(&paths).unwrap();
    let begin = Instant::now();
    kept.end(End::Remove);
    assert!(!runs(pid) && !paths.socket.exists() && !paths.configuration.exists());
    assert!(begin.elapsed() < Duration::from_secs(4), "it ends when it is asked to: {:?}", begin.elapsed());
}

#[test]
fn routes_of_one_that_had_to_be_killed_are_removed_and_no_others() {
    if !can_run("routes_of_one_that_had_to_be_killed") {
        return;
    }
    let (place, (a, b)) = (Place::new("flushed"), wire());
    std::fs::write(place.path("b.conf"), configuration("10.0.0.2", THEIRS)).unwrap();
    let _theirs = bird(&b, &place.path("b.conf"));
    let paths = paths(&place);
    let kernel = "protocol kernel {\n\tkernel table 50111;\n\tipv4 { export where source = RTS_BGP; };\n}\n";
    let count = |what: &str| {
        let output = a.command("ip").args(["route", "show", "table", "50111"]).args(what.split(' ')).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    a.ip("route add 172.30.0.0/24 dev va table 50111");
    a.ip("route add 172.30.1.0/24 dev va proto bird");
    for end in [End::Stop, End::Remove] {
        let kept = Kept::start(&a, &paths);
        kept.want(&format!("{}{kernel}", ours("all")));
        until(|| Some(()).filter(|()| count("proto bird") == 2));
        // It can't take anything back: it does not even hear that it is to end.
        signal(process(&paths).unwrap(), libc::SIGSTOP);
        kept.end(end);
        assert_eq!((count("proto bird"), count("proto boot")), (0, 1));
    }
    // One that was killed while nobody looked, and is wanted no more.
    let kept = Kept::start(&a, &paths);
    kept.want(&format!("{}{kernel}", ours("all")));
    until(|| Some(()).filter(|()| count("proto bird") == 2));
    kept.end(End::Leave);
    signal(process(&paths).unwrap(), libc::SIGKILL);
    let next = Kept::start(&a, &paths);
    next.service.as_ref().unwrap().want(None);
    until(|| Some(()).filter(|()| count("proto bird") == 0));
    until(|| Some(()).filter(|()| !paths.configuration.exists()));
    a.ip("route del 172.30.1.0/24 dev va proto bird");
}

#[test]
fn one_that_is_killed_or_stopped_is_noticed_and_comes_back() {
    if !can_run("one_that_is_killed_or_stopped") {
        return;
    }
    let (place, (a, b)) = (Place::new("killed"), wire());
    std::fs::write(place.path("b.conf"), configuration("10.0.0.2", THEIRS)).unwrap();
    let _theirs = bird(&b, &place.path("b.conf"));
    let paths = paths(&place);
    let kept = Kept::start(&a, &paths);
    kept.want(&ours("all"));
    until(|| session(&paths.socket));
    let first = process(&paths).unwrap();
    let begin = Instant::now();
    signal(first, libc::SIGKILL);
    kept.until_problem("BIRD has ended: signal 9");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    until(|| process(&paths).filter(|pid| *pid != first));
    until(|| session(&paths.socket));
    kept.until_as_wanted();
    println!("killed, and the session is up again after {:?}", begin.elapsed());
    let second = process(&paths).unwrap();
    signal(second, libc::SIGSTOP);
    kept.until_problem("BIRD does not answer");
    // Orders are taken while it is silent, and reach it when it goes on.
    let begin = Instant::now();
    kept.want(&ours("where net = 172.20.1.0/24"));
    assert!(begin.elapsed() < Duration::from_millis(100), "nobody waits for BIRD");
    signal(second, libc::SIGCONT);
    until(|| session(&paths.socket).filter(|(_, routes)| *routes == 1));
    kept.until_as_wanted();
    assert_eq!((process(&paths), kept.report().problem), (Some(second), None));
    // An end in good order by somebody else is an end all the same.
    let _ = Connection::open(&paths.socket, PATIENCE).unwrap().ask("down");
    until(|| process(&paths).filter(|pid| *pid != second));
    until(|| session(&paths.socket));
}

#[test]
fn one_that_is_left_running_is_taken_over_by_the_next_agent() {
    if !can_run("one_that_is_left_running") {
        return;
    }
    let (place, (a, b)) = (Place::new("left"), wire());
    std::fs::write(place.path("b.conf"), configuration("10.0.0.2", THEIRS)).unwrap();
    let _theirs = bird(&b, &place.path("b.conf"));
    let paths = paths(&place);
    let kept = Kept::start(&a, &paths);
    kept.want(&ours("all"));
    let (since, _) = until(|| session(&paths.socket));
    let pid = process(&paths).unwrap();
    kept.until_as_wanted();
    kept.end(End::Leave);
    assert!(runs(pid) && session(&paths.socket).is_some());
    let next = Kept::start(&a, &paths);
    next.want(&ours("where net = 172.20.1.0/24"));
    let (still, _) = until(|| session(&paths.socket).filter(|(_, routes)| *routes == 1));
    next.until_as_wanted();
    assert_eq!((process(&paths), still), (Some(pid), since));
    // A successor is no parent; it notices the end all the same.
    signal(pid, libc::SIGKILL);
    next.until_problem("BIRD has ended");
    let other = until(|| process(&paths).filter(|other| *other != pid));
    next.end(End::Remove);
    assert!(!runs(other));
}

#[test]
fn the_administrators_bird_is_told_by_a_file_that_it_includes() {
    if !can_run("the_administrators_bird") {
        return;
    }
    let (place, (a, b)) = (Place::new("included"), wire());
    std::fs::write(place.path("b.conf"), configuration("10.0.0.2", THEIRS)).unwrap();
    let _theirs = bird(&b, &place.path("b.conf"));
    let mut paths = paths(&place);
    (paths.configuration, paths.socket) = (place.path("wayleave.conf"), place.path("a.ctl"));
    let include = format!("include \"{}\";", paths.configuration.display());
    std::fs::write(place.path("a.conf"), configuration("10.0.0.1", &include)).unwrap();
    paths.theirs = Some(Theirs {
        configuration: place.path("a.conf"),
        prefix: "good".into(),
        line: include,
        place: place.path(""),
    });
    let whole = ours("all");
    let fragment = &whole[whole.find("protocol bgp").unwrap()..];
    let kept = Kept::start(&a, &paths);
    kept.want(fragment);
    kept.until_problem("no BIRD listens at");
    // Somebody who is no BIRD, at its socket.
    let other = UnixListener::bind(&paths.socket).unwrap();
    let noise = std::thread::spawn(move || {
        for _ in 0..2 {
            let _ = other.accept().map(|(mut stream, _)| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"));
        }
    });
    kept.until_problem("makes no sense");
    noise.join().unwrap();
    std::fs::remove_file(&paths.socket).unwrap();
    let mut admin: Running = bird(&a, &place.path("a.conf"));
    until(|| session(&paths.socket).filter(|(_, routes)| *routes == 2));
    kept.until_as_wanted();
    kept.want("protocol bgp good { nonsense }");
    let problem = kept.until_problem("what was in force stays");
    assert!(problem.contains("wayleave.conf.new:1:"), "{problem}");
    assert_eq!(std::fs::read_to_string(&paths.configuration).unwrap(), fragment);
    assert!(session(&paths.socket).is_some());
    let _ = (admin.0.kill(), admin.0.wait());
    kept.until_problem("no BIRD listens at");
    let _again = bird(&a, &place.path("a.conf"));
    kept.want(fragment);
    until(|| session(&paths.socket));
    kept.until_as_wanted();
    kept.end(End::Stop);
    let all = Connection::open(&paths.socket, PATIENCE).unwrap().protocols().unwrap();
    assert!(all.iter().all(|protocol| protocol.name != "good"), "it runs on, and knows nothing of ours");
    let rest = std::fs::read_to_string(&paths.configuration).unwrap();
    assert!(rest.starts_with("# Nothing is wanted"), "what includes it loads only if it is there: {rest}");
    let files = std::fs::read_dir(place.path("")).unwrap().flatten().map(|entry| entry.file_name());
    let ours = files.filter(|name| name.to_string_lossy().contains("wayleave.conf.")).count();
    assert_eq!(ours, 0, "nothing lies about beside it");
}

#[test]
fn bird_that_is_not_installed_is_said_so() {
    let (place, host) = (Place::new("missing"), Host::new());
    let paths = Paths { program: place.path("no-such-bird"), ..paths(&place) };
    let kept = Kept::start(&host, &paths);
    kept.want(&ours("all"));
    assert_eq!(kept.until_problem("installed"), "bird is not installed: apt install bird2");
    assert_eq!(kept.report().state, "down");
}
