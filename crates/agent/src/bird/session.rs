//! What a BGP session's state means: how it is, and why it is down; pure.
//!
//! In: what BIRD says of it, and what is known of the tunnel below it. Out: a [`SessionSnapshot`]. The tunnel is judged first: BGP
//! that has no tunnel fails in ways that tell nothing of BGP.

use super::protocols::{Bgp, Protocol};
use super::status::Moment;
use crate::control::{Health, SessionSnapshot};

/// A tunnel without a handshake for so long has no session (`REJECT_AFTER_TIME` of the WireGuard paper).
const SESSION_S: u64 = 180;
/// Of the hold time: with less than this left a keepalive is missing, since there are three in it.
const HOLD_LEFT_MIN: f64 = 0.5;

/// What is known of the other side from elsewhere than BIRD.
#[derive(Debug, Clone, PartialEq)]
pub struct Tunnel {
    /// What people call it.
    pub name: String,
    /// The device that it goes over.
    pub device: String,
    /// Whether that device is there; none: it has none of its own.
    pub is_there: Option<bool>,
    /// Seconds since the last handshake.
    pub handshake_age_s: Option<u64>,
    /// Round trip of the line in milliseconds.
    pub rtt_ms: Option<f64>,
}

/// All BGP sessions among protocols, worst first; `tunnel` knows of some what is below them.
pub fn sessions(
    protocols: &[Protocol],
    now: Option<Moment>,
    tunnel: impl Fn(&str) -> Option<Tunnel>,
) -> Vec<SessionSnapshot> {
    let of = |protocol: &Protocol| Some(snapshot(protocol, protocol.bgp.as_ref()?, now, tunnel(&protocol.name)));
    let mut sessions: Vec<SessionSnapshot> = protocols.iter().filter_map(of).collect();
    sessions.sort_by(|a, b| (a.health, &a.name, &a.protocol).cmp(&(b.health, &b.name, &b.protocol)));
    sessions
}

fn snapshot(protocol: &Protocol, bgp: &Bgp, now: Option<Moment>, tunnel: Option<Tunnel>) -> SessionSnapshot {
    let (health, reason) = judge(protocol, bgp, tunnel.as_ref());
    let sum = |of: fn(&super::protocols::Channel) -> Option<u64>| {
        protocol.channels.iter().filter_map(of).reduce(|all, more| all.saturating_add(more))
    };
    let is_up = bgp.state == "Established";
    SessionSnapshot {
        name: tunnel.as_ref().map_or_else(|| protocol.name.clone(), |tunnel| tunnel.name.clone()),
        protocol: protocol.name.clone(),
        kind: if bgp.is_internal() { "internal" } else { "external" }.into(),
        address: bgp.neighbour.clone(),
        asn: bgp.neighbour_asn,
        device: tunnel.as_ref().map(|tunnel| tunnel.device.clone()),
        handshake_age_s: tunnel.as_ref().and_then(|tunnel| tunnel.handshake_age_s),
        rtt_ms: tunnel.and_then(|tunnel| tunnel.rtt_ms),
        state: bgp.state.clone(),
        since_s: now.and_then(|now| now.since(Moment::parse(&protocol.since)?)),
        received_routes: sum(|channel| Some(channel.imported?.saturating_add(channel.filtered?))).filter(|_| is_up),
        accepted_routes: sum(|channel| channel.imported).filter(|_| is_up),
        exported_routes: sum(|channel| channel.exported).filter(|_| is_up),
        hold_left_s: bgp.hold_s.map(|(left, _)| left),
        last_error: bgp.last_error.clone(),
        health,
        reason,
    }
}

fn judge(protocol: &Protocol, bgp: &Bgp, tunnel: Option<&Tunnel>) -> (Health, String) {
    if bgp.state == "Established" {
        return judge_established(protocol, bgp);
    }
    if let Some(limit) =
        protocol.channels.iter().filter_map(|channel| channel.limit.as_ref()).find(|limit| limit.is_hit)
    {
        let then = match limit.action.as_str() {
            "disable" => format!("; it stays off until `birdc enable {}`", protocol.name),
            "restart" => "; it is tried again".into(),
            _ => String::new(),
        };
        return (Health::Down, format!("it sent more than the {} routes that it may{then}", limit.routes));
    }
    let error = bgp.last_error.as_deref().unwrap_or_default();
    if protocol.state == "down" && error.is_empty() {
        return (Health::Idle, "switched off".into());
    }
    let reason = tunnel.and_then(below).or_else(|| explained(bgp, error)).unwrap_or_else(|| waiting(bgp));
    (Health::Down, reason)
}

fn judge_established(protocol: &Protocol, bgp: &Bgp) -> (Health, String) {
    for channel in &protocol.channels {
        if let Some(limit) = channel.limit.as_ref().filter(|limit| limit.is_hit) {
            return (
                Health::Degraded,
                format!("{}: more than the {} routes that it may send", channel.name, limit.routes),
            );
        }
    }
    match bgp.hold_s {
        Some((left, all)) if all > 0.0 && left < all * HOLD_LEFT_MIN => {
            let silent = (all - left).round();
            (Health::Degraded, format!("nothing heard for {silent} s; at {all} s the session ends"))
        }
        _ => (Health::Fine, String::new()),
    }
}

/// What is wrong with the tunnel.
fn below(tunnel: &Tunnel) -> Option<String> {
    let device = &tunnel.device;
    match (tunnel.is_there?, tunnel.handshake_age_s) {
        (false, _) => Some(format!("its device {device} is not there")),
        (true, None) => Some(format!("no WireGuard handshake yet, on {device}")),
        (true, Some(age)) if age >= SESSION_S => Some(format!("no WireGuard handshake for {age} s, on {device}")),
        _ => None,
    }
}

/// An error in other words than BIRD's, with BIRD's behind them.
fn explained(bgp: &Bgp, error: &str) -> Option<String> {
    let meanings = [
        ("Bad peer AS", format!("it has another AS number than {}", bgp.neighbour_asn)),
        ("Hold timer expired", "it was silent for the whole hold time".into()),
        ("BFD session down", "BFD hears nothing from it, and had heard it before".into()),
        ("Connection refused", "it answers, and nothing listens at its TCP port 179".into()),
        ("Connection reset", "it breaks connections off: does it know us, by address and AS number?".into()),
        ("Connection closed", "it breaks connections off: does it know us, by address and AS number?".into()),
        ("Connection timed out", "nothing answers: a firewall, or it is off".into()),
        ("No route to host", "its address can't be reached".into()),
        ("Administrative shutdown", "its operator has switched the session off".into()),
        ("Connection rejected", "it takes no session with us".into()),
        ("No listening socket", "BIRD can't listen at TCP port 179".into()),
        ("Cannot assign requested address", "our own address of the session is on no device".into()),
        ("Interface", "the device is down".into()),
    ];
    let meaning = meanings.into_iter().find(|(words, _)| error.contains(words)).map(|(_, meaning)| meaning);
    match meaning {
        Some(meaning) => Some(format!("{meaning} ({error})")),
        None => Some(error.to_owned()).filter(|error| !error.is_empty()),
    }
}

/// Nothing is known to be wrong.
fn waiting(bgp: &Bgp) -> String {
    match bgp.state.as_str() {
        "Passive" => "waits to be called".into(),
        "Idle" => "its address is on no device that is up".into(),
        "Connect" | "Active" => "no answer yet".into(),
        "OpenSent" | "OpenConfirm" => "the session is being opened".into(),
        state => format!("it is {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocols::{Channel, Limit};
    use super::*;

    fn session(state: &str, error: &str) -> Protocol {
        let bgp = Bgp {
            state: state.into(),
            neighbour: "10.9.0.2".into(),
            neighbour_asn: 64_513,
            local_asn: 64_512,
            last_error: Some(error.to_owned()).filter(|error| !error.is_empty()),
            ..Bgp::default()
        };
        let channel = Channel { imported: Some(5), filtered: Some(2), exported: Some(1), ..Channel::default() };
        let state = if state == "Established" { "up" } else { "start" };
        Protocol {
            name: "n_a".into(),
            state: state.into(),
            since: "10:00:00".into(),
            bgp: Some(bgp),
            channels: vec![channel.clone(), channel],
            ..Protocol::default()
        }
    }

    fn check(protocol: Protocol, tunnel: Option<Tunnel>, health: Health, words: &str) {
        let got = sessions(&[protocol], Moment::parse("2026-11-21 10:00:30"), |_| tunnel.clone());
        assert_eq!((got[0].health, got[0].since_s), (health, Some(30)));
        assert!(
            if words.is_empty() { got[0].reason.is_empty() } else { got[0].reason.contains(words) },
            "{:?}",
            got[0]
        );
    }

    #[test]
    fn routes_of_all_channels_are_added_up_while_the_session_is_up() {
        let counts = |state: &str| {
            let got = &sessions(&[session(state, "")], None, |_| None)[0];
            (got.received_routes, got.accepted_routes, got.exported_routes)
        };
        assert_eq!(counts("Established"), (Some(14), Some(10), Some(2)));
        assert_eq!(counts("Active"), (None, None, None));
    }

    #[test]
    fn what_is_wrong_below_bgp_is_said_before_what_bgp_says() {
        let tunnel = |is_there, handshake_age_s| {
            Some(Tunnel {
                name: "a".into(),
                device: "wgn-a".into(),
                is_there: Some(is_there),
                handshake_age_s,
                rtt_ms: None,
            })
        };
        let refused = || session("Active", "Socket: No route to host");
        check(refused(), tunnel(false, None), Health::Down, "its device wgn-a is not there");
        check(refused(), tunnel(true, None), Health::Down, "no WireGuard handshake yet");
        check(refused(), tunnel(true, Some(200)), Health::Down, "no WireGuard handshake for 200 s");
        check(refused(), tunnel(true, Some(20)), Health::Down, "can't be reached (Socket: No route to host)");
        check(session("Established", ""), tunnel(true, Some(200)), Health::Fine, "");
    }

    #[test]
    fn errors_and_states_are_told_in_words() {
        check(session("Idle", "Error: Bad peer AS: 64515"), None, Health::Down, "another AS number than 64513 (");
        check(session("Active", "Received: Hold timer expired"), None, Health::Down, "silent for the whole hold time");
        check(session("Active", "Something new"), None, Health::Down, "Something new");
        check(session("Passive", ""), None, Health::Down, "waits to be called");
        check(session("Idle", ""), None, Health::Down, "on no device that is up");
        check(Protocol { state: "down".into(), ..session("Down", "") }, None, Health::Idle, "switched off");
        let mut limited = session("Down", "Automatic shutdown: Route limit exceeded");
        limited.channels[1].limit =
            Some(Limit { of: "Import".into(), routes: 3, is_hit: true, action: "disable".into() });
        check(
            limited.clone(),
            None,
            Health::Down,
            "more than the 3 routes that it may; it stays off until `birdc enable n_a`",
        );
        limited.bgp.as_mut().unwrap().state = "Established".into();
        check(limited, None, Health::Degraded, "more than the 3 routes");
        let mut silent = session("Established", "");
        silent.bgp.as_mut().unwrap().hold_s = Some((100.0, 240.0));
        check(silent, None, Health::Degraded, "nothing heard for 140 s; at 240 s the session ends");
    }
}
