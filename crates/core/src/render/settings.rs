//! What the kernel is to be told: settings, and what has to be done before one of them.
//!
//! A host that begins to forward over IPv6 ends what it does as a host: it drops the default route that router
//! advertisements brought, and takes no further one. So the interfaces that take routers until then are told to go on
//! (`accept_ra` = 2, ip-sysctl.rst) first. Neither is taken back: others may rely on forwarding by then, and without the
//! one the other would cut the host off.

use crate::plan::NodePlan;

/// The setting that lets the host forward over IPv6.
pub(super) const FORWARDING_V6: &str = "net.ipv6.conf.all.forwarding";

/// The settings that a plan needs, as keys and values.
pub(super) fn settings(plan: &NodePlan) -> Vec<(&'static str, &'static str)> {
    let v4 = plan.carries(true);
    let settings = [
        (plan.forwards && v4, "net.ipv4.ip_forward"),
        (forwards_v6(plan), FORWARDING_V6),
        (plan.own_table.is_some() && v4, "net.ipv4.conf.all.src_valid_mark"),
    ];
    settings.into_iter().filter(|(needed, _)| *needed).map(|(_, key)| (key, "1")).collect()
}

/// The same for sysctl.d(5), where nothing can be done first: without forwarding over IPv6.
pub(super) fn lines(plan: &NodePlan) -> String {
    let plain = settings(plan).into_iter().filter(|(key, _)| *key != FORWARDING_V6);
    plain.map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// Whether packets are to be forwarded over IPv6.
pub(super) fn forwards_v6(plan: &NodePlan) -> bool {
    plan.forwards && plan.carries(false)
}

/// The command, in one line of sh, by which all interfaces but the device that take IPv6 routers go on doing so.
pub(super) fn keep_routers(device: &str) -> String {
    format!(
        "for d in /proc/sys/net/ipv6/conf/*; do case $d in */all|*/default|*/lo|*/{device}) ;; *) \
         [ \"$(cat \"$d/accept_ra\")$(cat \"$d/forwarding\")\" != 10 ] || echo 2 >\"$d/accept_ra\" ;; esac; done"
    )
}
