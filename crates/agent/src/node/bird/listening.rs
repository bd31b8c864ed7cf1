//! Who listens to a table of the kernel's, and tells the control loop what has changed there.
//!
//! One thread for each table, as long as there is something to listen to: in come the kernel's news of the routes that lead out of the node's
//! device, out go [`News`], the first with all that there are. A kernel that refuses to say is asked again, and so is one without the
//! device. What a thread says that has been replaced meanwhile is known by its number and counts for nothing. What the
//! routes mean is for others to say.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use ipnet::IpNet;

use crate::netlink::{Hop, TableWatch};
use crate::node::{Event, Weight, log};

/// How soon a thread notices that nobody wants to know any more.
const NOTICE: Duration = Duration::from_millis(500);
/// Until the kernel is asked again when it refused something.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// What has changed in a table.
#[derive(Debug)]
pub struct News {
    /// Which of the threads that listen to it says so.
    by: u64,
    /// Whether these are all that there are.
    pub is_first: bool,
    /// Prefixes with the gateways that they lead to out of the node's own device, if any.
    pub routes: Vec<(IpNet, Option<Hop>)>,
}

/// The thread that listens to a table, if there is one; dropped, it ends.
#[derive(Debug, Default)]
pub(super) struct Listener {
    watch: Option<Watch>,
    /// Of the present thread.
    number: u64,
}

#[derive(Debug)]
struct Watch {
    table: u32,
    ended: Arc<AtomicBool>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

impl Listener {
    /// Listens to this table for routes out of the device, which is there; or to none. Nothing, if that is so already.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn follow(
        &mut self,
        table: Option<u32>,
        device: &str,
        to: &SyncSender<Event>,
        event: fn(News) -> Event,
    ) -> io::Result<()> {
        if table == self.watch.as_ref().map(|watch| watch.table) {
            return Ok(());
        }
        self.forget();
        let Some(table) = table else { return Ok(()) };
        self.number += 1;
        let ended = Arc::new(AtomicBool::new(false));
        let teller = Teller { table, device: device.to_owned(), to: to.clone(), event, by: self.number, ended };
        let watch = Watch { table, ended: teller.ended.clone() };
        std::thread::Builder::new().name(format!("table {table}")).spawn(move || teller.tell_all())?;
        self.watch = Some(watch);
        Ok(())
    }

    /// What was listened to is gone: who listens for routes out of a device that was made anew listens to nothing.
    pub fn forget(&mut self) {
        self.watch = None;
    }

    /// Whether news are of the present thread.
    pub fn has_told(&self, news: &News) -> bool {
        self.watch.is_some() && news.by == self.number
    }
}

/// What the thread knows: whom to tell of what, until when.
struct Teller {
    table: u32,
    device: String,
    to: SyncSender<Event>,
    event: fn(News) -> Event,
    by: u64,
    ended: Arc<AtomicBool>,
}

impl Teller {
    /// Tells of the table until nobody wants to know any more.
    fn tell_all(&self) {
        while !self.has_ended() {
            match TableWatch::open(self.table, &self.device, NOTICE).map(|watch| self.tell(watch)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    log(Weight::Warning, &format!("no news of table {} for a moment: {error}", self.table));
                }
                // The device is going away.
                Err(_) => {}
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn tell(&self, mut watch: TableWatch) -> io::Result<()> {
        let mut is_first = true;
        while !self.has_ended() {
            let routes = watch.wait()?;
            if !is_first && routes.is_empty() {
                continue;
            }
            let news = News { by: self.by, is_first: std::mem::take(&mut is_first), routes };
            if self.to.send((self.event)(news)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn follow(listener: &mut Listener, table: Option<u32>) -> bool {
        let (to, _) = sync_channel(1);
        // No such device: the thread finds nothing to listen to, and ends when it is not wanted any more.
        listener.follow(table, "xb-nothing", &to, Event::Learned).is_ok()
    }

    fn news(by: u64) -> News {
        News { by, is_first: true, routes: Vec::new() }
    }

    #[test]
    fn only_what_the_present_thread_says_counts() {
        let mut listener = Listener::default();
        assert!(!listener.has_told(&news(0)), "nobody listens");
        assert!(follow(&mut listener, Some(50_180)) && listener.has_told(&news(1)));
        assert!(follow(&mut listener, Some(50_180)) && listener.has_told(&news(1)), "the same table, the same thread");
        assert!(follow(&mut listener, Some(50_181)) && listener.has_told(&news(2)));
        assert!(!listener.has_told(&news(1)), "that one listens to another table");
        listener.forget();
        assert!(!listener.has_told(&news(2)));
        assert!(follow(&mut listener, Some(50_181)) && listener.has_told(&news(3)), "the device was made anew");
        assert!(follow(&mut listener, None) && !listener.has_told(&news(3)));
    }
}
