//! BGP sessions of a lab on the screen: with whom each node speaks, and what came of it.

use wayleave_lab::session::SessionReport;

use crate::table::{Align, layout};

/// One line for each session, and one for each that is not up.
pub fn table(sessions: &[SessionReport]) -> String {
    let header = [
        ("bgp", Align::Left),
        ("asn", Align::Right),
        ("state", Align::Left),
        ("received", Align::Right),
        ("accepted", Align::Right),
        ("exported", Align::Right),
    ];
    let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let row = |session: &SessionReport| {
        let state = if session.cut { format!("{}, cut", session.state) } else { session.state.clone() };
        vec![
            format!("{} - {}", session.node, session.with),
            session.asn.to_string(),
            state,
            number(session.received_routes),
            number(session.accepted_routes),
            number(session.exported_routes),
        ]
    };
    let mut text = layout(&header, &sessions.iter().map(row).collect::<Vec<_>>());
    for session in sessions.iter().filter(|session| !session.reason.is_empty()) {
        text.push_str(&format!("{} - {}: {}\n", session.node, session.with, session.reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_down_says_why_within_80_columns() {
        let down = SessionReport {
            node: "vps".into(),
            with: "home".into(),
            protocol: "n_home".into(),
            asn: 4_242_421_869,
            state: "Active".into(),
            since_s: Some(3),
            received_routes: None,
            accepted_routes: None,
            exported_routes: None,
            up: false,
            cut: true,
            reason: "no WireGuard handshake yet".into(),
        };
        let text = table(&[down]);
        assert!(text.contains("Active, cut") && text.ends_with("vps - home: no WireGuard handshake yet\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
