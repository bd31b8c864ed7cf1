//! Whether an entry server is ready for clients, and if not, why.
//!
//! A load balancer sends clients to whoever says that it is ready, so that word has to be true: the devices are there, the node is in
//! step with the others, they can be reached, packets are forwarded, and nobody has asked it to stop. In come facts that an agent has
//! gathered, out comes all that speaks against it; nothing is ready if anything does.

use crate::names::{DeviceName, Name};

/// What is known of an entry server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// Its devices, and whether each is there and up.
    pub devices: Vec<(DeviceName, bool)>,
    /// What the host refuses to take, if anything.
    pub refused: Option<String>,
    /// Whether it has heard from the others how the links are, or has waited for them long enough.
    pub is_in_step: bool,
    /// The entry servers and hubs that it has links with, and whether each link works.
    pub backbone: Vec<(Name, bool)>,
    /// Why a client's packet would not be passed on, if it would not.
    pub not_forwarded: Option<String>,
    /// Whether it was asked to take no more clients.
    pub is_draining: bool,
}

/// Something that keeps an entry server from being ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It was asked to take no more clients.
    #[error("draining: it was asked to take no more clients")]
    Draining,
    /// A device is missing, or down.
    #[error("{0} is not up")]
    Device(DeviceName),
    /// The host refuses a change.
    #[error("the host is not as planned: {0}")]
    Refused(String),
    /// It does not know yet how the links are.
    #[error("not yet in step with the other nodes")]
    OutOfStep,
    /// None of the others, of which there are several, can be reached.
    #[error("cut off from the backbone: no link with {} works", names(.0))]
    Isolated(Vec<Name>),
    /// Packets end here.
    #[error("packets of clients are not passed on: {0}")]
    NotForwarding(String),
}

/// All that speaks against being ready, what matters most first.
pub fn against(condition: &Condition) -> Vec<NotReady> {
    let mut all = Vec::new();
    all.extend(condition.is_draining.then_some(NotReady::Draining));
    let down = condition.devices.iter().filter(|(_, is_up)| !is_up);
    all.extend(down.map(|(device, _)| NotReady::Device(device.clone())));
    all.extend(condition.refused.clone().map(NotReady::Refused));
    all.extend((!condition.is_in_step).then_some(NotReady::OutOfStep));
    all.extend(isolation(condition));
    all.extend(condition.not_forwarded.clone().map(NotReady::NotForwarding));
    all
}

/// One that works is enough: the others are reached over it. Who has no others is not cut off from them; who has only one can't tell
/// whether that one is dead, and being the last of two it had better go on: if both closed, a load balancer would send clients to
/// the dead one as well.
fn isolation(condition: &Condition) -> Option<NotReady> {
    let is_cut_off = condition.backbone.len() > 1 && condition.backbone.iter().all(|(_, works)| !works);
    is_cut_off.then(|| NotReady::Isolated(condition.backbone.iter().map(|(name, _)| name.clone()).collect()))
}

fn names(names: &[Name]) -> String {
    let named: Vec<&str> = names.iter().take(3).map(Name::as_str).collect();
    let more = names.len() - named.len();
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn device(text: &str) -> DeviceName {
        DeviceName::new(text).expect("a device")
    }

    fn ready() -> Condition {
        Condition {
            devices: vec![(device("wg0"), true), (device("wg-clients"), true)],
            is_in_step: true,
            backbone: vec![(name("b"), true), (name("c"), true)],
            ..Condition::default()
        }
    }

    /// What is said of a server that is ready but for one thing.
    fn check(change: impl FnOnce(&mut Condition), expected: &[&str]) {
        let mut condition = ready();
        change(&mut condition);
        let said: Vec<String> = against(&condition).iter().map(ToString::to_string).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn each_single_thing_keeps_a_server_from_being_ready() {
        check(|_| {}, &[]);
        check(|now| now.devices[1].1 = false, &["wg-clients is not up"]);
        check(|now| now.is_in_step = false, &["not yet in step with the other nodes"]);
        check(|now| now.is_draining = true, &["draining: it was asked to take no more clients"]);
        check(
            |now| now.backbone.iter_mut().for_each(|link| link.1 = false),
            &["cut off from the backbone: no link with b, c works"],
        );
        check(
            |now| now.not_forwarded = Some("ip_forward is 0".into()),
            &["packets of clients are not passed on: ip_forward is 0"],
        );
        check(|now| now.refused = Some("no".into()), &["the host is not as planned: no"]);
    }

    #[test]
    fn one_link_of_the_backbone_is_enough_and_the_last_of_two_goes_on() {
        check(|now| now.backbone[0].1 = false, &[]);
        check(|now| now.backbone.clear(), &[]);
        check(|now| now.backbone = vec![(name("b"), false)], &[]);
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let reasons = against(&Condition { is_draining: true, ..Condition::default() });
        assert_eq!(reasons, [NotReady::Draining, NotReady::OutOfStep]);
    }

    #[test]
    fn of_many_names_three_are_told() {
        let many: Vec<Name> = ["a", "b", "c", "d", "e"].map(name).to_vec();
        assert_eq!(names(&many), "a, b, c and 2 more");
    }
}
