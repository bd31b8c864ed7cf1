//! The way in: from the sockets into the interface.
//!
//! Many messages are received by one system call, each one a datagram or a train that the kernel has joined (UDP GRO). Data
//! messages make a [`Batch`], which is opened where it lies, judged by the tunnel, and written to the interface in large packets.
//! With a pool and much to do, opening and writing are left to the pool; as long as it has something, all that comes goes through
//! it, so that nothing overtakes. All other messages go to the tunnel one by one, after the data that they came with: each of
//! them may cost as much as a hundred packets, and no packet depends on one that came with it.

use super::outward::Way;
use super::pool::Pool;
use super::pool::batch::Batch;
use super::tun::Tun;
use super::udp::Family;
use crate::limits::{
    LARGE_MESSAGE_BYTES, LARGE_MESSAGES_AT_ONCE, MESSAGES_AT_ONCE_MAX, MESSAGES_WHILE_QUIET, PARALLEL_FROM_BYTES,
    PARALLEL_FROM_PACKETS,
};
use crate::packet::PacketBuf;
use crate::time::Now;
use crate::tunnel::{Endpoint, Tunnel};

/// The buffers of the way in.
pub struct Inward {
    batch: Batch,
    /// How many messages to ask for.
    wanted: usize,
    /// Messages that are no data.
    others: Vec<(Endpoint, PacketBuf)>,
}

impl Inward {
    /// Buffers for an interface.
    pub fn new(tun: &Tun) -> Inward {
        Inward { batch: Batch::new(tun.joins()), wanted: MESSAGES_WHILE_QUIET, others: Vec::new() }
    }

    /// Takes one batch of messages from a socket, or several small ones for the pool.
    pub fn handle_socket(&mut self, family: Family, tun: &Tun, way: &mut Way<'_>) {
        for _ in 0..LARGE_MESSAGES_AT_ONCE {
            if !self.handle_batch(family, tun, way) {
                break;
            }
        }
    }

    /// Takes a batch. True if it went to the pool.
    fn handle_batch(&mut self, family: Family, tun: &Tun, way: &mut Way<'_>) -> bool {
        if let Some(pool) = &mut way.pool {
            while pool.is_full_of_batches() {
                collect(way.now, pool, way.tunnel, tun);
                pool.advance();
            }
        }
        let (buffer, received) = self.batch.room();
        // An error may belong to a datagram that we sent before; what waits behind it is reported by the next poll.
        if way.sockets.receive(family, buffer, self.wanted, received).is_err() {
            return false;
        }
        self.batch.sort(way.now, way.tunnel, |source, datagram| self.others.push((source, datagram)));
        let (messages, bytes) = self.batch.received();
        let is_large = bytes >= messages * LARGE_MESSAGE_BYTES;
        self.wanted = match &way.pool {
            _ if messages <= 1 && !is_large => MESSAGES_WHILE_QUIET,
            // A thread for each.
            Some(_) if is_large => 1,
            None if is_large => LARGE_MESSAGES_AT_ONCE,
            _ => MESSAGES_AT_ONCE_MAX,
        };
        let datagrams = self.batch.datagrams();
        let is_much = bytes >= PARALLEL_FROM_BYTES || datagrams >= PARALLEL_FROM_PACKETS;
        let goes_to_pool = match &mut way.pool {
            Some(pool) if datagrams > 0 && (is_much || !pool.nothing_comes()) => {
                let other = pool.batch().unwrap_or_else(|| Batch::new(tun.joins()));
                pool.open(std::mem::replace(&mut self.batch, other));
                true
            }
            _ => {
                self.batch.open();
                self.batch.judge(way.now, way.tunnel);
                way.tunnel.handle_tun_refused(self.batch.write(tun));
                false
            }
        };
        for (source, datagram) in self.others.drain(..) {
            way.tunnel.handle_datagram(way.now, source, datagram);
        }
        goes_to_pool
    }
}

/// Has the tunnel judge what the pool has opened, and writes the rest or has it written. Tells the tunnel what did not work.
pub fn collect(now: Now, pool: &mut Pool, tunnel: &mut Tunnel, tun: &Tun) {
    while let Some(mut batch) = pool.opened() {
        if !batch.judge(now, tunnel) {
            pool.put_back(batch);
        } else if pool.nothing_comes() {
            tunnel.handle_tun_refused(batch.write(tun));
            pool.put_back(batch);
        } else {
            pool.write(batch);
        }
    }
    pool.report(tunnel);
}
