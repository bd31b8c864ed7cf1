//! Everything in other people's syntax: files for hosts, and drawings.
//!
//! A renderer takes a [`crate::plan::NodePlan`] (or a whole plan, for what is about many members) and returns text. It
//! decides nothing. Files are the same bytes for the same plan, begin with a header that says where they come from, and
//! never hold a private key unless one is handed in.

mod bird;
mod drawing;
mod file;
mod firewall;
mod networkd;
mod others;
mod routers;
mod script;
mod settings;
mod svg;
mod wg_quick;

pub use bird::{BirdNow, Session, bird, bird_now, bird_sessions, bird_tables, include_line};
pub use drawing::{dot, mermaid};
pub use file::{KeySource, Recognised, RenderError, RenderedFile, recognised};
pub use firewall::{firewall_script, nftables_table, service_snippets};
pub use networkd::networkd;
pub use others::{Router, StandIn, ingress, lan_routes, names, neighbour, option_121, origins};
pub use routers::{edgeos, routeros, vyos};
pub use script::{cloud_init, commands, container};
pub use svg::svg;
pub use wg_quick::{neighbour_devices, wg_quick};

use firewall::only_clamps;

use crate::network::Platform;
use crate::plan::NodePlan;

/// Renders what a member's host needs on a platform. With an earlier plan of that member, routers are also told what to
/// take away; all others are told everything anew.
///
/// # Errors
/// If a peer has no public key, the private key is not the member's, or the platform can't do what the plan says.
pub fn files(
    plan: &NodePlan,
    platform: Platform,
    key: &KeySource<'_>,
    previous: Option<&NodePlan>,
) -> Result<Vec<RenderedFile>, RenderError> {
    if plan.bgp.is_some() && !matches!(platform, Platform::WgQuick | Platform::Agent) {
        return Err(RenderError::Bgp { member: plan.name.clone(), platform });
    }
    let file = match platform {
        Platform::Networkd => return networkd(plan, key),
        Platform::WgQuick | Platform::Agent | Platform::App => wg_quick(plan, key),
        Platform::Commands => commands(plan, key),
        Platform::CloudInit => cloud_init(plan, key),
        Platform::Container => container(plan, key),
        Platform::Edgeos => edgeos(plan, key, previous),
        Platform::Vyos => vyos(plan, key, previous),
        Platform::Routeros => routeros(plan, key, previous),
    };
    let mut all = vec![file?];
    all.extend(neighbour_devices(plan, key)?);
    all.extend(bird(plan));
    Ok(all)
}

/// What goes beside a device's own file: the script of its firewall. Where that would only adapt the size of segments, most
/// platforms have it in the device's file.
pub fn beside(plan: &NodePlan, platform: Platform) -> Option<RenderedFile> {
    let runs_it = matches!(platform, Platform::Networkd | Platform::Agent);
    firewall_script(plan).filter(|_| runs_it || !only_clamps(plan))
}

/// Where a platform's hosts keep the private key unless told otherwise; `%i` stands for the device's name.
pub fn key_path(platform: Platform) -> &'static str {
    match platform {
        // networkd can't look into /etc/wireguard, which is root's alone.
        Platform::Networkd => "/etc/systemd/network/%i.key",
        // What survives an upgrade of the router.
        Platform::Edgeos | Platform::Vyos => "/config/auth/%i.key",
        // A file in the router's flash.
        Platform::Routeros => "%i.key",
        _ => "/etc/wireguard/%i.key",
    }
}
