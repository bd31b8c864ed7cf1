//! The command line of `wayleave lab`: a whole network on this machine, what is done to it, and whom that means.
//!
//! Shapes and bounds only, as in the rest of the command line; doc comments are what people read.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;

#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Bring a network up on this machine, measure every pair, and stay until Ctrl-C
    Up(LabUpArgs),
    /// Show the links and paths of a running lab
    Status {
        #[command(flatten)]
        which: LabName,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Ping from one member to others through the overlay
    Ping {
        #[command(flatten)]
        which: LabName,
        /// Who pings
        from: String,
        /// Who is pinged; all others if nobody is named
        to: Vec<String>,
        /// How many times
        #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a program on a member of a running lab
    Exec {
        #[command(flatten)]
        which: LabName,
        /// On whom
        member: String,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Cut links, nodes or regions of the underlay
    Fail {
        #[command(flatten)]
        what: LabTarget,
        /// Cut one direction only, from the first to the second
        #[arg(long)]
        one_way: bool,
        /// Lose this share of packets instead of all
        #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
        loss: Option<f64>,
    },
    /// Mend what was cut
    Heal {
        #[command(flatten)]
        what: LabTarget,
    },
    /// Take a client to another region: its latencies become those of that region, and it has a new public address
    Move {
        #[command(flatten)]
        which: LabName,
        /// Which client
        client: String,
        /// To which region
        region: String,
        /// Its public address stays, so that a load balancer that pins flows keeps it where it is
        #[arg(long)]
        keep_address: bool,
    },
    /// Run a program inside a member; the lab does this itself
    #[command(hide = true)]
    Become {
        /// The member's directory
        directory: PathBuf,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Run a member's agent; the lab does this itself
    #[command(hide = true)]
    Agent {
        /// The member's directory
        directory: PathBuf,
    },
    /// End a running lab
    Down {
        #[command(flatten)]
        which: LabName,
    },
}

/// A share between 0 and 100.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    number.filter(|number| (0.0..=100.0).contains(number)).ok_or_else(|| "a share is a number from 0 to 100".to_owned())
}

#[derive(Debug, Args)]
pub struct LabUpArgs {
    /// The network file
    #[arg(default_value = "network.toml")]
    pub file: PathBuf,
    /// End after the table is printed
    #[arg(long)]
    pub once: bool,
    /// Print the table as JSON
    #[arg(long)]
    pub json: bool,
    /// Name of the lab, so that several can run; by default the network's
    #[arg(long)]
    pub name: Option<String>,
    /// Pings per pair
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub count: u32,
    /// Delay of each direction varies by this much, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    pub jitter_ms: f64,
    /// Share of packets lost on the underlay
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub loss: f64,
    /// Bandwidth between any two members in Mbit/s; unlimited by default
    #[arg(long, value_name = "MBIT")]
    pub rate_mbit: Option<f64>,
    /// What kind of NAT members without a public endpoint are behind
    #[arg(long, value_enum, default_value_t = NatKind::EndpointIndependent)]
    pub nat: NatKind,
    /// Run the real agent on every member, so that links fail over; where clients roam, all nodes run it without being asked
    #[arg(long)]
    pub agents: bool,
    /// Let each agent record in a file of this folder, as `wayleave agent --record` does
    #[arg(long, value_name = "FOLDER")]
    pub record: Option<PathBuf>,
    /// The WireGuard of clients, started as `PROGRAM DEVICE`, such as `wireguard-go`; by default the embedded engine
    #[arg(long, value_name = "PROGRAM", conflicts_with = "agents")]
    pub clients: Option<PathBuf>,
    /// Seconds that a NAT remembers a silent flow
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub nat_timeout_s: u64,
    /// What plays foreign routers, each with the half that `render --neighbour` writes; by default BIRD, if it is installed
    #[arg(long, value_enum)]
    pub router: Option<RouterKind>,
    /// What a foreign router tells of instead of a prefix that the lab makes up, as in `home=172.23.0.80/28,172.20.1.0/24`
    #[arg(long, value_name = "NEIGHBOUR=PREFIX,...", value_parser = announced)]
    pub announce: Vec<(String, Vec<IpNet>)>,
    /// Seconds of silence after which foreign routers end a session
    #[arg(long, value_name = "S", default_value_t = 180, value_parser = clap::value_parser!(u16).range(3..))]
    pub hold_time_s: u16,
}

/// `home=172.23.0.80/28,172.20.1.0/24`.
fn announced(text: &str) -> Result<(String, Vec<IpNet>), String> {
    let (name, list) = text.split_once('=').ok_or("say NEIGHBOUR=PREFIX, as in home=172.23.0.80/28")?;
    let prefix = |word: &str| {
        let prefix: IpNet = word.trim().parse().map_err(|_| format!("{word:?} is no prefix such as 172.23.0.80/28"))?;
        if prefix.trunc() == prefix { Ok(prefix) } else { Err(format!("{prefix} has host bits: {}", prefix.trunc())) }
    };
    Ok((name.to_owned(), list.split(',').filter(|word| !word.is_empty()).map(prefix).collect::<Result<_, _>>()?))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RouterKind {
    /// BIRD 2 or 3
    Bird,
    /// FRR's zebra and bgpd
    Frr,
    /// Nothing: foreign routers are left out
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NatKind {
    /// One outside port per inside port, whoever is spoken to
    EndpointIndependent,
    /// Another outside port for each destination
    Symmetric,
    /// No NAT: members without endpoint have public addresses all the same
    None,
}

#[derive(Debug, Args)]
pub struct LabName {
    /// Which lab, if several run
    #[arg(long = "name", value_name = "LAB")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct LabTarget {
    #[command(flatten)]
    pub which: LabName,
    /// Two ends, each a node, client, region or neighbour, as in `hkg nrt`; or `node X`, `region X` or `neighbour X`
    #[arg(required = true, num_args = 2, value_name = "WHAT")]
    pub target: Vec<String>,
}
