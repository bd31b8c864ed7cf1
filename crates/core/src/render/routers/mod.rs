//! Routers that run nothing of ours and are told by commands: EdgeOS, VyOS, RouterOS.
//!
//! EdgeOS and VyOS keep one tree of settings. A plan becomes such settings; what an earlier plan had and this one has not
//! is deleted, at the highest node that nothing else needs, before the rest is set. Both belong to one commit, so the
//! order within it does not matter to the router.

mod edgeos;
mod routeros;
mod vyos;

pub use edgeos::edgeos;
pub use routeros::routeros;
pub use vyos::vyos;

use std::collections::{BTreeMap, BTreeSet};

use super::file::{Opening, RenderError, RenderedFile, line};
use crate::network::Platform;
use crate::plan::NodePlan;

/// A setting in the tree: a node's path, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    node: Vec<String>,
    value: String,
    /// Whether the node may have several values; if not, setting one replaces another.
    many: bool,
}

/// Settings of a member, in the order in which they are shown.
#[derive(Debug, Default)]
struct Tree {
    settings: Vec<Setting>,
    /// Remarks, each before the setting of that number.
    remarks: BTreeMap<usize, String>,
}

impl Tree {
    fn one(&mut self, node: &[&str], value: impl ToString) {
        self.add(node, value.to_string(), false);
    }

    fn many(&mut self, node: &[&str], value: impl ToString) {
        self.add(node, value.to_string(), true);
    }

    fn add(&mut self, node: &[&str], value: String, many: bool) {
        self.settings.push(Setting { node: node.iter().map(|word| (*word).to_owned()).collect(), value, many });
    }

    /// A remark on what is added next.
    fn remark(&mut self, text: String) {
        self.remarks.insert(self.settings.len(), text);
    }

    /// The paths to delete, of what is in `old` and not here.
    fn gone(&self, old: &Tree) -> Vec<Vec<String>> {
        let mut wanted: BTreeSet<&[String]> = BTreeSet::new();
        let mut values: BTreeMap<&[String], BTreeSet<&str>> = BTreeMap::new();
        for setting in &self.settings {
            wanted.extend((1..=setting.node.len()).map(|length| &setting.node[..length]));
            values.entry(&setting.node).or_default().insert(&setting.value);
        }
        let mut gone: Vec<Vec<String>> = Vec::new();
        for setting in &old.settings {
            let above = (own_depth(&setting.node)..=setting.node.len()).map(|length| &setting.node[..length]);
            let path = match above.into_iter().find(|path| !wanted.contains(path)) {
                Some(path) => path.to_vec(),
                None if setting.many && !values[setting.node.as_slice()].contains(setting.value.as_str()) => {
                    setting.node.iter().cloned().chain([setting.value.clone()]).collect()
                }
                None => continue,
            };
            if !gone.contains(&path) {
                gone.push(path);
            }
        }
        gone
    }

    fn file(&self, plan: &NodePlan, previous: Option<&Tree>, name: String) -> RenderedFile {
        let mut body = String::new();
        for path in previous.map(|old| self.gone(old)).unwrap_or_default() {
            line(&mut body, format_args!("delete {}", path.join(" ")));
        }
        for (at, setting) in self.settings.iter().enumerate() {
            if let Some(remark) = self.remarks.get(&at) {
                line(&mut body, format_args!("# {remark}"));
            }
            line(&mut body, format_args!("set {} {}", setting.node.join(" "), setting.value));
        }
        if let Some(remark) = self.remarks.get(&self.settings.len()) {
            line(&mut body, format_args!("# {remark}"));
        }
        RenderedFile::new(plan, name, Opening::Header, &body)
    }
}

/// The number of a device's first rule among those of others: high, so that it is unlikely to be taken.
fn rule_number(plan: &NodePlan) -> u32 {
    let digits: String = plan.device.as_str().chars().filter(char::is_ascii_digit).collect();
    5_000 + 10 * (digits.parse::<u32>().unwrap_or_default() % 400)
}

/// What stands where the overlay is not let in by a router's rules, since a policy of the network is not enforced there.
const RESTRICTED: &str =
    "The policy is not enforced here: what else may come in from the overlay is left to rules of your own.";

/// How many words at least name what is ours alone: what is above holds others' settings, too, of which a plan knows nothing.
fn own_depth(node: &[String]) -> usize {
    let depth = match node.first().map(String::as_str) {
        // `protocols static route PREFIX`
        Some("protocols") => 4,
        // `firewall name WAN_LOCAL rule 5000`, `firewall ipv4 input filter rule 5000`
        Some("firewall") => node.iter().position(|word| word == "rule").map_or(3, |at| at + 2),
        // `interfaces wireguard wg0`, `firewall options mss-clamp`
        _ => 3,
    };
    depth.min(node.len())
}

/// Refuses what these routers can't be told.
fn check(plan: &NodePlan, platform: Platform) -> Result<(), RenderError> {
    let member = plan.name.clone();
    if plan.own_table.is_some() {
        return Err(RenderError::EndpointInside { member, platform });
    }
    let is_numbered = |name: &str| {
        name.strip_prefix("wg").is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    if platform != Platform::Routeros && !is_numbered(plan.device.as_str()) {
        let device = plan.device.to_string();
        return Err(RenderError::DeviceName { member, device, platform, why: "it is to be wg and a number" });
    }
    Ok(())
}
