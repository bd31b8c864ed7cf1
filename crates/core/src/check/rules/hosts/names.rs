//! Rules over names: those that break the labels of metrics, and those that no device can have.

use super::View;
use crate::check::{Finding, Findings, Hazard};
use crate::import::hosts::{Device, Format};
use crate::names::DeviceName;

/// Runs the rules.
pub(super) fn check(view: &View<'_>, findings: &mut Findings) {
    for (_, _, device) in view.devices() {
        label_breaks(device, findings);
        device_name(view, device, findings);
    }
}

fn label_breaks(device: &Device, findings: &mut Findings) {
    for name in device.peers.iter().filter_map(|peer| peer.name.as_ref()) {
        let what = name.value.chars().find_map(|c| match c {
            '"' => Some("a quote"),
            '\\' => Some("a backslash"),
            c if c.is_control() => Some("a control character"),
            _ => None,
        });
        let Some(what) = what else { continue };
        let kind = Hazard::LabelBreaks { name: name.value.clone(), what };
        findings.push(Finding::new(kind, name.span).with_fix("Use letters, digits, spaces, hyphens and dots."));
    }
}

/// Only where the name is a device's: a file in a folder of one's own may be named after its host.
fn device_name(view: &View<'_>, device: &Device, findings: &mut Findings) {
    let path = view.sources.0.get(device.place.source.0 as usize).map_or("", |source| source.name.as_str());
    let installed = path.rsplit_once('/').is_some_and(|(folder, _)| folder.ends_with("wireguard"));
    if device.format == Format::WgQuick && !installed {
        return;
    }
    let Err(error) = DeviceName::new(&device.name) else { return };
    let kind = Hazard::DeviceNameRefused { name: device.name.clone(), why: error.to_string() };
    findings.push(Finding::new(kind, device.place).with_fix("Use up to 15 letters, digits and _ = + . - such as wg0."));
}
