//! Clients that roam, on the screen: who has whom, and how long each move took.
//!
//! The same facts three times: as a table, as JSON (which is the report itself), and line by line while a lab stays up.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wayleave_lab::session::{ClientAgents, ClientReport, MoveReport};

use crate::table::{Align, layout};

/// Between two looks at where clients are.
const LOOK: Duration = Duration::from_secs(1);
/// A move that not all nodes have followed after this time is told as it is.
const FOLLOWED_MAX_US: u64 = 5_000_000;
/// With whom a client is that is with none.
const NOBODY: &str = "nobody";

/// One line for each client.
pub fn table(clients: &[ClientReport]) -> String {
    let header = [
        ("client", Align::Left),
        ("in", Align::Left),
        ("with", Align::Left),
        ("since", Align::Right),
        ("came from", Align::Left),
        ("in ms", Align::Right),
    ];
    let row = |client: &ClientReport| {
        let moved = client.moved.as_ref();
        vec![
            client.client.clone(),
            client.region.clone().unwrap_or_else(|| "-".to_owned()),
            name(client.server.as_deref()),
            client.since_s.map_or_else(|| "-".to_owned(), age),
            moved.map_or_else(|| "-".to_owned(), |moved| name(moved.from.as_deref())),
            moved.map_or_else(|| "-".to_owned(), took),
        ]
    };
    layout(&header, &clients.iter().map(row).collect::<Vec<_>>())
}

fn name(server: Option<&str>) -> String {
    server.unwrap_or(NOBODY).to_owned()
}

/// How long ago, in the largest unit that says something.
fn age(seconds: f64) -> String {
    match seconds as u64 {
        0..120 => format!("{seconds:.0} s"),
        120..7_200 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3_600.0),
    }
}

/// How long all nodes took to follow, or how many have.
fn took(moved: &MoveReport) -> String {
    match (moved.took_ms, &moved.to) {
        (Some(ms), _) => format!("{ms:.0}"),
        (None, Some(_)) if moved.followed < moved.nodes => format!("{}/{}", moved.followed, moved.nodes),
        (None, _) => "-".to_owned(),
    }
}

/// Tells each move as a line on standard error for as long as it lives.
pub struct Watch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Moves so far are known; times are told since `start`.
    pub fn start(agents: ClientAgents, known: &[ClientReport], start: Instant) -> Watch {
        let (end, until) = channel();
        let mut told = Told::default();
        told.lines(known);
        let watch = move || {
            while until.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                for line in told.lines(&agents.clients()) {
                    eprintln!("{:5.1} s  {line}", start.elapsed().as_secs_f64());
                }
            }
        };
        // Without threads the lab works all the same, and says less.
        let thread = std::thread::Builder::new().name("clients".into()).spawn(watch).ok();
        Watch { end: Some(end), thread }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Which move of each client was told last, by when it began, and when a move was first seen that is not told yet.
#[derive(Default)]
struct Told {
    latest: BTreeMap<String, u64>,
    seen: BTreeMap<String, (u64, Instant)>,
}

impl Told {
    /// What there is to say that was not said.
    fn lines(&mut self, clients: &[ClientReport]) -> Vec<String> {
        clients.iter().filter_map(|client| self.line(client, client.moved.as_ref()?)).collect()
    }

    fn line(&mut self, client: &ClientReport, moved: &MoveReport) -> Option<String> {
        let name = &client.client;
        if self.latest.get(name).is_some_and(|told| *told >= moved.at_us) {
            return None;
        }
        let (at_us, since) = *self.seen.entry(name.clone()).or_insert((moved.at_us, Instant::now()));
        if at_us != moved.at_us {
            self.seen.insert(name.clone(), (moved.at_us, Instant::now()));
        }
        let is_late = at_us == moved.at_us && since.elapsed().as_micros() as u64 > FOLLOWED_MAX_US;
        if moved.took_ms.is_none() && moved.followed < moved.nodes && !is_late {
            return None;
        }
        self.latest.insert(name.clone(), moved.at_us);
        self.seen.remove(name);
        let ends = |server: &Option<String>| server.clone().unwrap_or_else(|| NOBODY.to_owned());
        let how = match moved.took_ms {
            Some(ms) => format!(" in {ms:.0} ms"),
            None if moved.followed < moved.nodes => {
                format!(", which {} of {} nodes have followed", moved.followed, moved.nodes)
            }
            None => String::new(),
        };
        Some(format!("{name}: {} > {}{how}", ends(&moved.from), ends(&moved.to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(at_us: u64, took_ms: Option<f64>, followed: usize) -> ClientReport {
        let moved = MoveReport {
            from: Some("vpn-singapore".into()),
            to: Some("vpn-ireland".into()),
            at_us,
            took_ms,
            followed,
            nodes: 3,
        };
        ClientReport {
            client: "callserver-singapore".into(),
            region: Some("ireland".into()),
            server: Some("vpn-ireland".into()),
            since_s: Some(12.0),
            moved: Some(moved),
        }
    }

    #[test]
    fn the_table_of_the_example_fits_into_80_columns() {
        let text = table(&[client(1, Some(184.2), 3), client(2, None, 1)]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("184") && text.contains("1/3"), "{text}");
    }

    #[test]
    fn each_move_is_told_once_and_not_before_all_have_followed() {
        let mut told = Told::default();
        assert!(told.lines(&[client(5, None, 2)]).is_empty());
        let line = "callserver-singapore: vpn-singapore > vpn-ireland in 93 ms";
        assert_eq!(told.lines(&[client(5, Some(93.4), 3)]), [line]);
        assert!(told.lines(&[client(5, Some(93.4), 3)]).is_empty());
        assert_eq!(told.lines(&[client(9, Some(10.0), 3)]).len(), 1);
    }
}
