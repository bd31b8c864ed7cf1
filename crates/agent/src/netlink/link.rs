//! Devices: finding, making, setting and addressing them.
//!
//! A device that is made here can be put into another namespace in the same request, which is how a cable (veth) comes to join
//! two nodes without ever being visible to a third.

use super::{Attempt, Netlink, NetlinkError};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

impl Netlink {
    /// The number of a device.
    pub fn link_index(&mut self, device: &str) -> Result<u32, NetlinkError> {
        let attempt = Attempt::on(device, "look up the number");
        let message = named(device);
        match self.request(&attempt, RouteNetlinkMessage::GetLink(message), 0)? {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(link.header.index),
            other => Err(NetlinkError::Answer { attempt, why: format!("{other:?} is no link") }),
        }
    }

    /// Brings a device up.
    pub fn set_up(&mut self, device: &str) -> Result<(), NetlinkError> {
        self.set_flag(device, "bring up the link", LinkFlags::Up)
    }

    /// Takes a device down.
    pub fn set_down(&mut self, device: &str) -> Result<(), NetlinkError> {
        self.set_flag(device, "take down the link", LinkFlags::empty())
    }

    /// Sets the largest packet of a device.
    pub fn set_mtu(&mut self, device: &str, mtu: u32) -> Result<(), NetlinkError> {
        self.set_attribute(device, format!("set MTU {mtu}"), LinkAttribute::Mtu(mtu))
    }

    /// Sets how many packets wait in a device's transmit queue.
    pub fn set_queue(&mut self, device: &str, packets: u32) -> Result<(), NetlinkError> {
        self.set_attribute(device, format!("set a queue of {packets}"), LinkAttribute::TxQueueLen(packets))
    }

    /// Makes a WireGuard device of the kernel's, down and without key.
    pub fn add_wireguard(&mut self, device: &str) -> Result<(), NetlinkError> {
        let mut message = named(device);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Wireguard)]));
        self.change_link(Attempt::on(device, "make a WireGuard device"), message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Gives a device an alias, a text of up to 255 bytes that the kernel keeps with it.
    pub fn set_alias(&mut self, device: &str, alias: &str) -> Result<(), NetlinkError> {
        self.set_attribute(device, format!("set alias {alias}"), LinkAttribute::IfAlias(alias.into()))
    }

    /// Makes a bridge, down.
    pub fn add_bridge(&mut self, device: &str) -> Result<(), NetlinkError> {
        let mut message = named(device);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.change_link(Attempt::on(device, "make a bridge"), message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes a device a member of a bridge.
    pub fn enslave(&mut self, device: &str, bridge: &str) -> Result<(), NetlinkError> {
        let index = self.link_index(bridge)?;
        self.set_attribute(device, format!("join bridge {bridge}"), LinkAttribute::Controller(index))
    }

    /// Makes a cable: one end here, the other in another namespace (here too, without one). Both are down.
    pub fn add_veth(
        &mut self,
        device: &str,
        other: &str,
        other_namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), NetlinkError> {
        let mut far = named(other);
        far.attributes.extend(other_namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        let mut near = named(device);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        let attempt = Attempt::on(device, format!("make a veth pair with {other}"));
        self.change_link(attempt, near, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Moves a device into another namespace, where it arrives down and without addresses.
    pub fn move_link(&mut self, device: &str, namespace: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        self.set_attribute(device, "move to another namespace", LinkAttribute::NetNsFd(namespace.as_raw_fd()))
    }

    /// Removes a device.
    pub fn remove_link(&mut self, device: &str) -> Result<(), NetlinkError> {
        let attempt = Attempt::on(device, "remove the link");
        self.request(&attempt, RouteNetlinkMessage::DelLink(named(device)), 0).map(drop)
    }

    /// Gives a device an address with its prefix; replaces one that is there. Usable at once, IPv6 too.
    pub fn add_address(&mut self, device: &str, address: IpNet) -> Result<(), NetlinkError> {
        let attempt = Attempt::on(device, format!("add address {address}"));
        let message = self.address_message(device, address)?;
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.request(&attempt, RouteNetlinkMessage::NewAddress(message), flags).map(drop)
    }

    /// Takes an address away from a device.
    pub fn remove_address(&mut self, device: &str, address: IpNet) -> Result<(), NetlinkError> {
        let attempt = Attempt::on(device, format!("remove address {address}"));
        let message = self.address_message(device, address)?;
        self.request(&attempt, RouteNetlinkMessage::DelAddress(message), 0).map(drop)
    }

    fn address_message(&mut self, device: &str, address: IpNet) -> Result<AddressMessage, NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = self.link_index(device)?;
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        if matches!(address, IpNet::V6(_)) {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes.push(AddressAttribute::Local(address.addr()));
        message.attributes.push(AddressAttribute::Address(address.addr()));
        Ok(message)
    }

    fn set_flag(&mut self, device: &str, what: &str, flags: LinkFlags) -> Result<(), NetlinkError> {
        let mut message = named(device);
        message.header.flags = flags;
        message.header.change_mask = LinkFlags::Up;
        self.change_link(Attempt::on(device, what), message, 0)
    }

    fn set_attribute(
        &mut self,
        device: &str,
        what: impl Into<String>,
        attribute: LinkAttribute,
    ) -> Result<(), NetlinkError> {
        let mut message = named(device);
        message.attributes.push(attribute);
        self.change_link(Attempt::on(device, what), message, 0)
    }

    /// RTM_NEWLINK makes a device with `NLM_F_CREATE` and changes one without.
    fn change_link(&mut self, attempt: Attempt, message: LinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.request(&attempt, RouteNetlinkMessage::NewLink(message), flags).map(drop)
    }
}

fn named(device: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(device.into()));
    message
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
