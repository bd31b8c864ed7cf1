//! The bytes of an ICMP echo.
//!
//! A raw socket receives every echo reply of its namespace, whoever sent it. So a probe carries which one it is and a proof that only
//! its run can make, another for each: who was sent some can't answer for others, and who was sent none can't answer at all. The
//! sixteen bits of identifier and sequence are for whoever looks at the packets.

use std::hash::{BuildHasher as _, RandomState};

/// Bytes of a probe: as many as the classic ping sends.
pub(super) const PROBE_BYTES: usize = 64;

/// What marks the probes of one run: a keyed hash (SipHash, with random keys).
#[derive(Debug, Clone)]
pub(super) struct Identity(RandomState);

impl Identity {
    pub(super) fn fresh() -> Self {
        Self(RandomState::new())
    }

    fn proof(&self, target: u32, round: u32) -> [u8; 8] {
        self.0.hash_one((target, round)).to_be_bytes()
    }

    fn identifier(&self) -> u16 {
        self.0.hash_one("identifier") as u16
    }
}

/// Which probe of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    pub target: u32,
    pub round: u32,
}

impl Probe {
    /// An echo request of so many bytes, at least [`PROBE_BYTES`]. For IPv6 the kernel fills in the checksum.
    pub(super) fn request(self, identity: &Identity, v4: bool, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.max(PROBE_BYTES)];
        bytes[0] = if v4 { 8 } else { 128 };
        bytes[4..6].copy_from_slice(&identity.identifier().to_be_bytes());
        bytes[6..8].copy_from_slice(&(self.round as u16).to_be_bytes());
        bytes[8..16].copy_from_slice(&identity.proof(self.target, self.round));
        bytes[16..20].copy_from_slice(&self.target.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.round.to_be_bytes());
        if v4 {
            let sum = checksum(&bytes);
            bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// The probe that a received packet answers. IPv4 packets come with their header.
    pub(super) fn from_reply(packet: &[u8], identity: &Identity, v4: bool) -> Option<Self> {
        let header = if v4 { usize::from(packet.first()? & 15) * 4 } else { 0 };
        let bytes = packet.get(header..)?;
        let reply = if v4 { 0 } else { 129 };
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let probe = Self { target: number(16)?, round: number(20)? };
        let is_ours = *bytes.first()? == reply && bytes.get(8..16)? == identity.proof(probe.target, probe.round);
        is_ours.then_some(probe)
    }
}

/// RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_names_its_probe() {
        let (identity, probe) = (Identity::fresh(), Probe { target: 7, round: 70_000 });
        let mut reply = vec![0x45; 20];
        reply.extend(probe.request(&identity, true, PROBE_BYTES));
        assert_eq!(Probe::from_reply(&reply, &identity, true), None, "a request is no reply");
        reply[20] = 0;
        assert_eq!(Probe::from_reply(&reply, &identity, true), Some(probe));
        assert_eq!(Probe::from_reply(&reply, &Identity::fresh(), true), None);
        assert_eq!(Probe::from_reply(&reply[..30], &identity, true), None);
        assert_eq!(Probe::from_reply(&[], &identity, true), None);
    }

    #[test]
    fn who_is_probed_can_answer_for_nobody_else() {
        let (identity, probe) = (Identity::fresh(), Probe { target: 7, round: 1 });
        let mut reply = probe.request(&identity, false, PROBE_BYTES);
        reply[0] = 129;
        assert_eq!(Probe::from_reply(&reply, &identity, false), Some(probe));
        for at in 16..24 {
            let mut forged = reply.clone();
            forged[at] ^= 1;
            assert_eq!(Probe::from_reply(&forged, &identity, false), None, "byte {at}");
        }
    }

    #[test]
    fn the_checksum_verifies() {
        assert_eq!(checksum(&Probe { target: 1, round: 2 }.request(&Identity::fresh(), true, 1_001)), 0);
    }
}
