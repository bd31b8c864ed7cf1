//! What a node does about ways into sites that have other gateways too: tells of its own, and takes up what the others tell.
//!
//! In come what the host's interfaces say, and where BGP tells of a site ([`Network::is_site_by_bgp`]), what it holds for the best of the others'.
//! Out come states of ways, as of links whose other end is the site; the planner chooses the gateway by them. The exchange tells
//! each gateway's state to everybody; BGP tells the best gateway only, from which follows that all before it don't get in.
//!
//! [`Network::is_site_by_bgp`]: crate::network::Network::is_site_by_bgp

use super::super::claims::routes::Told;
use super::super::claims::sites;
use super::super::exchange::record::View;
use super::super::{Node, Output, Time};
use super::site::Way;
use crate::limits::SITE_PREFERENCE;
use crate::names::Name;

impl Node {
    /// Whether this host gets into a site that it is a gateway of.
    pub(in crate::node) fn handle_site(&mut self, site: Name, works: bool, now: Time) {
        if !self.around.is_way(self.around.own(), &site) && !self.around.is_way_by_bgp(self.around.own(), &site) {
            return;
        }
        self.ways.entry(site.clone()).or_insert_with(|| Way::new(works)).handle(works, now);
        self.publish_way(&site, now);
    }

    /// When a way has something to do.
    pub(in crate::node) fn ways_wake(&self) -> Time {
        if self.is_leaving {
            return Time::NEVER;
        }
        self.ways.values().map(Way::wake).min().unwrap_or(Time::NEVER)
    }

    /// Does it.
    pub(in crate::node) fn step_ways(&mut self, now: Time) {
        self.ways.values_mut().for_each(|way| way.step(now));
        let sites: Vec<Name> = self.ways.keys().cloned().collect();
        sites.iter().for_each(|site| self.publish_way(site, now));
    }

    /// Tells whether this node gets into a site, if that is news.
    pub(in crate::node) fn publish_way(&mut self, site: &Name, now: Time) {
        let Some(view) = self.ways.get(site).map(Way::view) else { return };
        if self.around.is_way_by_bgp(self.around.own(), site) {
            self.say_site(site);
            return self.follow_site(site, now);
        }
        if !self.exchange.publish(site, view, &self.around, now) {
            return;
        }
        let own = self.around.own().clone();
        self.update_state(&own, site, &said(&own, &own, site, view), now);
        self.refresh_all();
    }

    /// What BGP holds for the best of the other gateways of a site has changed.
    pub(in crate::node) fn handle_site_route(&mut self, site: &Name, told: Option<Told>, now: Time) {
        let gateway = told.as_ref().map(|told| &told.server);
        if told.as_ref().is_some_and(|told| told.epoch > SITE_PREFERENCE)
            || gateway.is_some_and(|gateway| !self.around.is_way_by_bgp(gateway, site))
            || self.around.gateways_by_bgp(site).is_empty()
        {
            self.exchange.refused += 1;
            return;
        }
        self.sites.hear(site, told);
        self.say_site(site);
        self.follow_site(site, now);
    }

    /// What was told of the sites counts from now on as all that there is, or is to be said anew: the node is about to go, or no
    /// longer; or another file is in force.
    pub(in crate::node) fn follow_sites(&mut self, now: Time) {
        for site in self.around.sites_by_bgp() {
            self.say_site(&site);
            self.follow_site(&site, now);
        }
    }

    /// Another network file is in force.
    pub(in crate::node) fn adopt_sites(&mut self, now: Time) {
        let around = &self.around;
        self.ways.retain(|site, _| around.is_way(around.own(), site) || around.is_way_by_bgp(around.own(), site));
        self.sites.keep(|site| !around.gateways_by_bgp(site).is_empty());
        let all: Vec<Name> = self.ways.keys().cloned().collect();
        all.iter().for_each(|site| self.publish_way(site, now));
        self.follow_sites(now);
    }

    /// The program ends, and the device with it: nobody gets into a site by this node any more.
    pub(in crate::node) fn abandon_sites(&mut self) {
        for site in self.around.sites_by_bgp() {
            if self.ways.contains_key(&site) && self.sites.say(&site, None) {
                self.outputs.push_back(Output::OriginateSite { site, preference: None });
            }
        }
    }

    /// Has BGP say whether this node gets into a site. A reflector passes on its own before all others', so it says nothing while it
    /// hears of a better gateway.
    fn say_site(&mut self, site: &Name) {
        let own = self.around.own();
        let gateways = self.around.gateways_by_bgp(site);
        let (Some(rank), Some(way)) = (gateways.iter().position(|gateway| gateway == own), self.ways.get(site)) else {
            return;
        };
        let preference = sites::preference(rank, self.server.is_draining());
        let is_hidden = self.around.is_reflector() && self.sites.preference(site) > Some(preference);
        let preference = (way.view() != View::Down && !is_hidden).then_some(preference);
        if self.sites.say(site, preference) {
            self.outputs.push_back(Output::OriginateSite { site: site.clone(), preference });
        }
    }

    /// Takes up what follows for each gateway's way: those before the one that BGP tells of don't get in, nor does anybody else
    /// if it tells of nobody.
    fn follow_site(&mut self, site: &Name, now: Time) {
        let own = self.around.own().clone();
        let is_cut = self.ways.get(site).is_some_and(|way| way.view() == View::Down);
        let gateways = self.around.gateways_by_bgp(site);
        let best = self.sites.gateway(site).and_then(|best| gateways.iter().position(|gateway| gateway == best));
        let is_told = self.routes.as_ref().is_some_and(|routes| routes.is_told);
        for (rank, gateway) in gateways.iter().enumerate() {
            let is_down = match best {
                _ if *gateway == own => is_cut,
                Some(best) => rank < best,
                None => is_told,
            };
            let view = if is_down { View::Down } else { View::AsStated };
            if self.around.set_way(gateway, site, is_down) {
                let state = self.around.states().of(gateway, site);
                self.handout.note(said(&own, gateway, site, view));
                self.handout.handle_change((gateway, site), *gateway == own, state, now);
            }
        }
    }
}

/// What has become of a way.
fn said(own: &Name, gateway: &Name, site: &Name, view: View) -> String {
    match (view, gateway == own) {
        (View::Down, true) => format!("this gateway does not get into the site {site}: another one is to take over"),
        (_, true) => format!("this gateway gets into the site {site} again"),
        (View::Down, false) => format!("BGP does not tell that {gateway} gets into the site {site}"),
        (_, false) => format!("BGP tells that {gateway}, or one after it, gets into the site {site}"),
    }
}
