//! Messages between nodes, as bytes.
//!
//! Every message is a probe as well: it opens with a header of 15 bytes by which links are judged. Parts may follow,
//! each with kind and length, so that what a newer version adds is skipped by an older one. All numbers are big-endian.
//!
//! ```text
//! header   version 1 | flags 1 | loss 1 | number 2 | heard 2 | ago 2 | digest 4 | boot 2
//! part     kind 1 | length 2 | body
//! records  kind 1 | length 1 | (link: origin, other, generation 4, view 1, microseconds 4 if the view has them)
//!                              (claim: client, server, epoch 4, held 1)
//! receipts number 2 ...          summary  reply 1 | digest 4 x 64         a name: length 1 | text
//! offer    client | 4 or 6 | address 4 or 16 | port 2 | label 12 or nothing; or client | 0 | port 2 | label
//! ```
//!
//! Lengths are exact: what has a byte too few or too many is refused as a whole, and nothing of it is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::record::{Claim, Record, View};
use super::records::BUCKETS;
use crate::limits::EXCHANGE_MESSAGE_BYTES_MAX;
use crate::names::Name;
use crate::node::handover::{LABEL_BYTES, Offer, Place};

/// The version that is spoken.
pub const VERSION: u8 = 1;
/// `ago` when it is longer than can be said, in units of 10 microseconds.
pub const AGO_LONG: u16 = u16::MAX;

const POLL: u8 = 1;
const FAST: u8 = 2;
const DEAF: u8 = 4;
const HAS_HEARD: u8 = 8;
const LEAVING: u8 = 16;
const HEADER_BYTES: usize = 15;
const PART_RECORDS: u8 = 1;
const PART_RECEIPTS: u8 = 2;
const PART_SUMMARY: u8 = 3;
const PART_OFFER: u8 = 4;
const PLACE_PORT: u8 = 0;
const PLACE_V4: u8 = 4;
const PLACE_V6: u8 = 6;
const RECORD_LINK: u8 = 1;
const RECORD_CLAIM: u8 = 2;

/// What every message begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// The receiver is to answer at once.
    pub poll: bool,
    /// From the end that polls: another poll follows within [`crate::limits::PROBE_FAST_MS`]. From the other: please do.
    pub fast: bool,
    /// The sender does not hear the receiver.
    pub deaf: bool,
    /// The sender's program is about to end.
    pub leaving: bool,
    /// How much of what the receiver sent was lost, in 255ths.
    pub loss: u8,
    /// Counts the messages of this sender on this link.
    pub number: u16,
    /// The last number heard from the receiver, and how long ago in units of 10 microseconds.
    pub heard: Option<(u16, u16)>,
    /// Digest of all records that the sender has.
    pub digest: u32,
    /// Tells one run of the sender's program from the next.
    pub boot: u16,
}

/// What may follow a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// News.
    Records(Vec<Record>),
    /// Numbers of messages with records that have arrived.
    Receipts(Vec<u16>),
    /// Digests of all that the sender has.
    Summary {
        /// Whether it answers one, and so wants no answer.
        reply: bool,
        /// One for each part of the records; all ones: this part is not to be compared.
        digests: Box<[u32; BUCKETS]>,
    },
    /// A client that the receiver is to call.
    Offer(Offer),
}

impl Part {
    /// Whether the other end is to answer a message with it.
    pub fn asks(&self) -> bool {
        !matches!(self, Part::Receipts(_) | Part::Offer(_))
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The probe.
    pub header: Header,
    /// The exchange.
    pub parts: Vec<Part>,
    /// Parts and records of unknown kinds that were skipped.
    pub skipped: usize,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Made by a version that is not spoken here.
    #[error("version {0} of the exchange is not known here")]
    Version(u8),
    /// It ends too early, or a length in it does not fit.
    #[error("a message or something in it has the wrong length")]
    Length,
    /// A field has a value that means nothing.
    #[error("a field of a message has a value that means nothing")]
    Value,
}

/// Writes a message. What would not fit is a mistake of the caller, which keeps to
/// [`EXCHANGE_MESSAGE_BYTES_MAX`].
pub fn encode(header: &Header, parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = flag(header.poll, POLL)
        | flag(header.fast, FAST)
        | flag(header.deaf, DEAF)
        | flag(header.leaving, LEAVING)
        | flag(header.heard.is_some(), HAS_HEARD);
    let (heard, ago) = header.heard.unwrap_or_default();
    bytes.extend([VERSION, flags, header.loss]);
    bytes.extend([header.number, heard, ago].iter().flat_map(|field| field.to_be_bytes()));
    bytes.extend(header.digest.to_be_bytes());
    bytes.extend(header.boot.to_be_bytes());
    for part in parts {
        let (kind, body) = match part {
            Part::Records(records) => (PART_RECORDS, records.iter().flat_map(record_bytes).collect::<Vec<u8>>()),
            Part::Receipts(numbers) => {
                (PART_RECEIPTS, numbers.iter().flat_map(|number| number.to_be_bytes()).collect())
            }
            Part::Summary { reply, digests } => {
                let digests = digests.iter().flat_map(|digest| digest.to_be_bytes());
                (PART_SUMMARY, std::iter::once(u8::from(*reply)).chain(digests).collect())
            }
            Part::Offer(offer) => (PART_OFFER, offer_bytes(offer)),
        };
        bytes.push(kind);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
    }
    bytes
}

fn offer_bytes(offer: &Offer) -> Vec<u8> {
    let name = offer.client.as_str();
    let mut bytes = vec![name.len() as u8];
    bytes.extend(name.bytes());
    let port = match offer.place {
        Place::Port(port) => {
            bytes.push(PLACE_PORT);
            port
        }
        Place::At(place) => {
            bytes.push(if place.is_ipv4() { PLACE_V4 } else { PLACE_V6 });
            match place.ip() {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
            place.port()
        }
    };
    bytes.extend(port.to_be_bytes());
    bytes.extend(offer.seen.iter().flatten());
    bytes
}

/// A record with its kind and length.
pub fn record_bytes(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    let (kind, names) = match record {
        Record::Link { origin, other, .. } => (RECORD_LINK, [origin, other]),
        Record::Client { client, claim, .. } => (RECORD_CLAIM, [client, &claim.server]),
    };
    bytes.extend([kind, 0]);
    for name in names {
        bytes.push(name.as_str().len() as u8);
        bytes.extend(name.as_str().bytes());
    }
    bytes.extend(record.generation().to_be_bytes());
    match record {
        Record::Link { view: View::AsStated, .. } => bytes.push(0),
        Record::Link { view: View::Takes { us }, .. } => {
            bytes.push(1);
            bytes.extend(us.to_be_bytes());
        }
        Record::Link { view: View::Down, .. } => bytes.push(2),
        Record::Client { claim, .. } => bytes.push(u8::from(claim.held)),
    }
    bytes[1] = (bytes.len() - 2) as u8;
    bytes
}

/// Reads a message.
///
/// # Errors
/// Says why the bytes are none.
pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    let mut rest = Reader(bytes);
    let version = rest.byte()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    if bytes.len() > EXCHANGE_MESSAGE_BYTES_MAX {
        return Err(WireError::Length);
    }
    let header = rest.header()?;
    let (mut parts, mut skipped) = (Vec::new(), 0);
    while !rest.0.is_empty() {
        let kind = rest.byte()?;
        let length = usize::from(rest.number()?);
        let mut body = Reader(rest.take(length)?);
        match kind {
            PART_RECORDS => parts.push(Part::Records(body.records(&mut skipped)?)),
            PART_RECEIPTS => parts.push(Part::Receipts(body.receipts()?)),
            PART_SUMMARY => parts.push(body.summary()?),
            PART_OFFER => parts.push(Part::Offer(body.offer()?)),
            _ => skipped += 1,
        }
    }
    Ok(Message { header, parts, skipped })
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u16, WireError> {
        let taken = self.take(2)?;
        Ok(u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn long(&mut self) -> Result<u32, WireError> {
        let taken = self.take(4)?;
        Ok(u32::from_be_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    fn header(&mut self) -> Result<Header, WireError> {
        let (flags, loss) = (self.byte()?, self.byte()?);
        let (number, heard, ago) = (self.number()?, self.number()?, self.number()?);
        let (digest, boot) = (self.long()?, self.number()?);
        Ok(Header {
            poll: flags & POLL != 0,
            fast: flags & FAST != 0,
            deaf: flags & DEAF != 0,
            leaving: flags & LEAVING != 0,
            loss,
            number,
            heard: (flags & HAS_HEARD != 0).then_some((heard, ago)),
            digest,
            boot,
        })
    }

    fn records(&mut self, skipped: &mut usize) -> Result<Vec<Record>, WireError> {
        let mut records = Vec::new();
        while !self.0.is_empty() {
            let kind = self.byte()?;
            let length = usize::from(self.byte()?);
            let mut body = Reader(self.take(length)?);
            match kind {
                RECORD_LINK => records.push(body.link()?),
                RECORD_CLAIM => records.push(body.claim()?),
                _ => *skipped += 1,
            }
        }
        Ok(records)
    }

    fn link(&mut self) -> Result<Record, WireError> {
        let (origin, other, generation) = (self.name()?, self.name()?, self.long()?);
        let view = match self.byte()? {
            0 => View::AsStated,
            1 => View::Takes { us: self.long()? },
            2 => View::Down,
            _ => return Err(WireError::Value),
        };
        self.end(Record::Link { origin, other, generation, view })
    }

    fn claim(&mut self) -> Result<Record, WireError> {
        let (client, server, epoch) = (self.name()?, self.name()?, self.long()?);
        let held = self.flag()?;
        self.end(Record::Client { client, epoch, claim: Claim { held, server } })
    }

    fn flag(&mut self) -> Result<bool, WireError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Value),
        }
    }

    /// What has been read, if nothing is left.
    fn end<T>(&self, read: T) -> Result<T, WireError> {
        if self.0.is_empty() { Ok(read) } else { Err(WireError::Length) }
    }

    fn name(&mut self) -> Result<Name, WireError> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| WireError::Value)?;
        Name::new(text).map_err(|_| WireError::Value)
    }

    fn receipts(&mut self) -> Result<Vec<u16>, WireError> {
        let mut numbers = Vec::new();
        while !self.0.is_empty() {
            numbers.push(self.number()?);
        }
        Ok(numbers)
    }

    fn summary(&mut self) -> Result<Part, WireError> {
        let reply = self.flag()?;
        let mut digests = Box::new([0; BUCKETS]);
        for digest in digests.iter_mut() {
            *digest = self.long()?;
        }
        self.end(Part::Summary { reply, digests })
    }

    fn offer(&mut self) -> Result<Offer, WireError> {
        let client = self.name()?;
        let place = match self.byte()? {
            PLACE_PORT => Place::Port(self.number()?),
            PLACE_V4 => Place::At(SocketAddr::new(Ipv4Addr::from(self.array::<4>()?).into(), self.number()?)),
            PLACE_V6 => Place::At(SocketAddr::new(Ipv6Addr::from(self.array::<16>()?).into(), self.number()?)),
            _ => return Err(WireError::Value),
        };
        let seen = if self.0.is_empty() { None } else { Some(self.array::<LABEL_BYTES>()?) };
        self.end(Offer { client, place, seen })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Length)?;
        self.0 = rest;
        Ok(*taken)
    }
}
