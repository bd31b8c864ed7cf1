//! From hosts as read to the text of a network file that explains them.
//!
//! [`members`] finds out who is who, [`relations`] what they are to each other, [`search`] tries what can't be read off:
//! regions, idle hubs, round-trip times, and [`letter`]
//! says what is left. A draft is good if the plan of its text tells hosts what was read. What the
//! format can't say is a finding, and the text is always one that loads and resolves.

mod draft;
mod letter;
mod members;
mod relations;
mod search;
mod walk;

use crate::check::{Finding, Findings, Imported};
use crate::names::Name;

use super::sources::Read;
pub(super) use draft::Draft;
pub(super) use members::{World, is_usable};
pub(super) use relations::{atoms, draft};
pub(super) use walk::{Table, Tables};

/// A device that was read, and the member that it became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Position in [`Read::hosts`].
    pub host: usize,
    /// Position in the host's devices.
    pub device: usize,
    /// The member's name.
    pub name: Name,
}

/// What was made of hosts.
#[derive(Debug, Clone)]
pub struct Inferred {
    /// The network file, TOML.
    pub text: String,
    /// Which device became which member.
    pub taken: Vec<Taken>,
    /// What could not be expressed, and what is odd about the whole.
    pub findings: Findings,
}

/// Infers a network from hosts. The same hosts give the same text.
pub fn infer(read: &Read, name: &Name) -> Inferred {
    let mut findings = Findings::default();
    let world = World::new(&read.hosts, &mut findings);
    let tables = Tables::new(&world);
    let taken = world.taken();
    let draft = relations::draft(&world, &tables, name, &mut findings);
    stays_behind(read, &mut findings);
    let draft = sound(draft, &mut findings);
    let draft = search::best(read, &world, &tables, &taken, draft);
    let draft = letter::exact(read, &world, &tables, &taken, draft);
    for (a, b) in &draft.isolated {
        let (a, b) = (draft.members[*a].name.to_string(), draft.members[*b].name.to_string());
        findings
            .push(Finding::new(Imported::PairApart { a, b }, None).with_fix("Remove the isolate rule to join them."));
    }
    Inferred { text: draft.text(), taken, findings }
}

/// A draft that loads and resolves: as it is, or with less and less of what is in the way.
fn sound(mut draft: Draft, findings: &mut Findings) -> Draft {
    let steps: [fn(&mut Draft); 5] = [
        |draft| draft.client_prefixes.clear(),
        |draft| draft.members.iter_mut().for_each(|member| member.endpoints.retain(|network, _| network.is_none())),
        |draft| {
            draft.sites.clear();
            draft.members.iter_mut().for_each(|member| member.prefixes.clear());
        },
        |draft| draft.members.iter_mut().for_each(|member| member.addresses.clear()),
        |draft| draft.members.iter_mut().for_each(|member| member.endpoints.clear()),
    ];
    for step in steps {
        let complaints = match search::resolved(&draft) {
            Ok(_) => return draft,
            Err(complaints) => complaints,
        };
        for complaint in complaints {
            let why = "it is left out of the network file".to_owned();
            findings.push(Finding::new(Imported::Unexpressed { what: complaint, why }, None));
        }
        step(&mut draft);
        if step as usize == steps[4] as usize {
            draft.links.clear();
            draft.members.iter_mut().for_each(|member| member.via = None);
        }
    }
    draft
}

/// What is understood, and has no place in a network file.
fn stays_behind(read: &Read, findings: &mut Findings) {
    for host in &read.hosts {
        for device in &host.devices {
            let whom = super::rules::device_label(host, device);
            let mut stays = |what: &str, why, place| {
                findings.push(Finding::new(
                    Imported::StaysBehind { what: what.to_owned(), whom: whom.clone(), why },
                    place,
                ));
            };
            if let Some(dns) = device.dns.first() {
                stays("DNS", "it is not about the network's own paths", dns.span);
            }
            if let Some(peer) = device.peers.iter().find_map(|peer| peer.preshared_key.as_ref()) {
                stays("the preshared key", "network files hold no secrets", peer.span);
            }
            if let Some(table) = &device.table {
                stays("Table", "the plan decides where routes go", table.span);
            }
            for hook in &device.hooks {
                use super::hosts::Effect;
                let is_planned = |effect: &Effect| {
                    matches!(effect, Effect::Forwarding { .. } | Effect::PrivateKeyFile(_) | Effect::ClampMss { .. })
                };
                if !hook.effects.iter().all(is_planned) {
                    stays(
                        "a hook",
                        "the plan switches forwarding on; firewalls and translation are the host's",
                        hook.command.span,
                    );
                }
            }
        }
    }
}
