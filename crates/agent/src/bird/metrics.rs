//! BGP in figures, in the text form that Prometheus reads (version 0.0.4); pure.
//!
//! In: what is told of all sessions, and what was counted. Out: a page. Names of neighbours are plain words; what BIRD says may be
//! anything, and is escaped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::control::{BgpSnapshot, SessionSnapshot};

/// What happens now and then, counted since the agent's start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times that a session ended, by BIRD's name of it.
    pub flaps: BTreeMap<String, u64>,
    /// Texts that BIRD has refused.
    pub refusals: u64,
    /// BIRDs that have ended without being told to.
    pub deaths: u64,
    /// For how long each session was up when it was last looked at, in seconds.
    up: BTreeMap<String, Option<u64>>,
}

impl Counts {
    /// Compares sessions with what they were.
    pub fn handle_sessions(&mut self, sessions: &[SessionSnapshot]) {
        for session in sessions {
            let since = (session.state == "Established").then(|| session.since_s.unwrap_or_default());
            let flaps = self.flaps.entry(session.protocol.clone()).or_default();
            let before = self.up.insert(session.protocol.clone(), since).flatten();
            // One that is up for less long than before has been down in between.
            if before.is_some_and(|before| since.is_none_or(|since| since < before)) {
                *flaps += 1;
            }
        }
        let is_there = |name: &String| sessions.iter().any(|session| session.protocol == *name);
        // While BIRD says nothing nobody has gone.
        if !sessions.is_empty() {
            self.up.retain(|name, _| is_there(name));
            self.flaps.retain(|name, _| is_there(name));
        }
    }
}

/// The page.
pub fn text(bgp: &BgpSnapshot, counts: &Counts) -> String {
    let mut page = Page(String::new());
    let is = |word: bool| Some(if word { 1.0 } else { 0.0 });
    page.one("wayleave_bird_up", "Whether BIRD runs and answers.", is(bgp.bird == "running"));
    page.one("wayleave_bird_problem", "Whether something is wrong with BIRD itself.", is(bgp.problem.is_some()));
    page.one("wayleave_bird_refusals_total", "Configurations that BIRD has refused.", Some(counts.refusals as f64));
    page.one("wayleave_bird_deaths_total", "BIRDs that ended by themselves.", Some(counts.deaths as f64));
    page.one("wayleave_bgp_leaving", "Whether others are asked not to come by this node.", is(bgp.is_leaving));
    let mut each = |name: &str, help: &str, value: &dyn Fn(&SessionSnapshot) -> Option<f64>| {
        page.each(name, help, &bgp.sessions, value);
    };
    let count = |value: Option<u64>| value.map(|value| value as f64);
    each("wayleave_bgp_session_up", "Whether a session is established.", &|s| is(s.state == "Established"));
    each("wayleave_bgp_session_since_seconds", "For how long it is as it is.", &|s| count(s.since_s));
    each("wayleave_bgp_routes_received", "Routes that came.", &|s| count(s.received_routes));
    each("wayleave_bgp_routes_accepted", "Routes that came and were accepted.", &|s| count(s.accepted_routes));
    each("wayleave_bgp_routes_exported", "Routes that were told.", &|s| count(s.exported_routes));
    each("wayleave_bgp_handshake_age_seconds", "Since the tunnel's last handshake.", &|s| count(s.handshake_age_s));
    each("wayleave_bgp_rtt_seconds", "Round trip of the line.", &|s| s.rtt_ms.map(|ms| ms / 1_000.0));
    each("wayleave_bgp_session_flaps_total", "Times that it ended.", &|s| {
        count(counts.flaps.get(&s.protocol).copied())
    });
    page.head("wayleave_bgp_session_info", "Its state, and what went wrong last.");
    for session in &bgp.sessions {
        let (state, error) = (escaped(&session.state), escaped(session.last_error.as_deref().unwrap_or_default()));
        let labels = labels(session);
        let _ = writeln!(page.0, "wayleave_bgp_session_info{{{labels},state=\"{state}\",last_error=\"{error}\"}} 1");
    }
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.head(name, help);
        if let Some(value) = value {
            let _ = writeln!(self.0, "{name} {value}");
        }
    }

    fn each(
        &mut self,
        name: &str,
        help: &str,
        sessions: &[SessionSnapshot],
        value: &dyn Fn(&SessionSnapshot) -> Option<f64>,
    ) {
        self.head(name, help);
        for session in sessions {
            if let Some(value) = value(session) {
                let _ = writeln!(self.0, "{name}{{{}}} {value}", labels(session));
            }
        }
    }
}

fn labels(session: &SessionSnapshot) -> String {
    let SessionSnapshot { name, protocol, kind, asn, .. } = session;
    format!("neighbour=\"{}\",session=\"{}\",kind=\"{kind}\",asn=\"{asn}\"", escaped(name), escaped(protocol))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Health;

    fn session(state: &str) -> SessionSnapshot {
        SessionSnapshot {
            name: "home".into(),
            protocol: "n_home".into(),
            kind: "external".into(),
            address: "10.9.0.2".into(),
            asn: 64_513,
            device: None,
            handshake_age_s: Some(20),
            rtt_ms: Some(12.5),
            state: state.into(),
            since_s: Some(60),
            received_routes: Some(466),
            accepted_routes: Some(463),
            exported_routes: None,
            hold_left_s: None,
            last_error: Some("Received: \"a\\b\"\nand more".into()),
            health: Health::Fine,
            reason: String::new(),
        }
    }

    fn snapshot(sessions: Vec<SessionSnapshot>) -> BgpSnapshot {
        BgpSnapshot {
            schema: "wayleave.bgp".into(),
            version: 1,
            bird: "running".into(),
            bird_version: None,
            router_id: None,
            socket: "bird.ctl".into(),
            tables: None,
            problem: None,
            is_leaving: false,
            between_nodes: None,
            sessions,
        }
    }

    #[test]
    fn every_figure_has_a_line_and_what_is_not_known_has_none() {
        let mut counts = Counts::default();
        for state in ["Established", "Active", "Established", "Idle", "Established"] {
            counts.handle_sessions(&[session(state)]);
        }
        let page = text(&snapshot(vec![session("Established")]), &counts);
        let labels = r#"neighbour="home",session="n_home",kind="external",asn="64513""#;
        for line in [
            "wayleave_bird_up 1".to_owned(),
            format!("wayleave_bgp_session_up{{{labels}}} 1"),
            format!("wayleave_bgp_routes_accepted{{{labels}}} 463"),
            format!("wayleave_bgp_rtt_seconds{{{labels}}} 0.0125"),
            format!("wayleave_bgp_session_flaps_total{{{labels}}} 2"),
            format!(
                r#"wayleave_bgp_session_info{{{labels},state="Established",last_error="Received: \"a\\b\"\nand more"}} 1"#
            ),
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(!page.contains("wayleave_bgp_routes_exported{"), "{page}");
        // Each name is declared once, before its values.
        let declared: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let mut unique = declared.clone();
        unique.dedup();
        assert_eq!(declared, unique);
    }

    #[test]
    fn a_session_that_was_down_between_two_looks_has_flapped() {
        let mut counts = Counts::default();
        for since_s in [60, 65, 2, 7, 7, 12, 0] {
            counts.handle_sessions(&[SessionSnapshot { since_s: Some(since_s), ..session("Established") }]);
        }
        assert_eq!(counts.flaps["n_home"], 2);
    }

    #[test]
    fn while_bird_says_nothing_no_session_has_gone() {
        let mut counts = Counts::default();
        counts.handle_sessions(&[session("Established")]);
        counts.handle_sessions(&[]);
        counts.handle_sessions(&[session("Active")]);
        assert_eq!(counts.flaps["n_home"], 1);
        assert!(text(&snapshot(Vec::new()), &counts).contains("wayleave_bird_up 1\n"));
    }
}
