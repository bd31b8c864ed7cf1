//! The command line, as clap reads it: the source of help, man pages and completions.
//!
//! Only shapes and bounds are here; what a command does with them is in its file. Doc comments are what people read, so
//! they are written for them.

mod lab;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use wayleave_core::file::Date;
use wayleave_core::keys::PublicKey;
use wayleave_core::network::Platform;

pub use lab::{LabCommand, LabName, LabTarget, LabUpArgs, NatKind, RouterKind};

/// WireGuard networks across regions, clouds, offices and laptops, from one network file.
#[derive(Debug, Parser)]
#[command(
    name = "wayleave",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 fine, 1 failed, 2 differences found, 3 warnings under --strict, \
                  4 degraded, 64 bad usage."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with a network file, or with WireGuard files as they are
    Check(CheckArgs),
    /// Plan the network: addresses, links, paths, allowed prefixes
    Plan(PlanArgs),
    /// Make a network file from other people's WireGuard files
    Import(ImportArgs),
    /// Write configuration files for the hosts; records the plan, as `plan` does
    Render(RenderArgs),
    /// Prove what becomes of every packet between all nodes, clients and sites
    Prove(ProveArgs),
    /// Tell how packets go from one to another and back, hop by hop
    Explain(ExplainArgs),
    /// Say who loses what when nodes, links or regions fail
    Survive(SurviveArgs),
    /// Add and remove clients (road warriors)
    Client(ClientArgs),
    /// Keep a client's WireGuard interface, whoever has set it up, on a server that answers
    ClientWatch(ClientWatchArgs),
    /// Make and look at keys
    Key(KeyArgs),
    /// Run the whole network on this machine
    Lab(LabArgs),
    /// Keep this host true to the plan for as long as it runs
    Agent(AgentArgs),
    /// How this host's agent finds everybody else in the network, worst first; exits with 4 if not all is as intended
    Status(StatusArgs),
    /// What on this host keeps the plan from working, or may, and what to do about it; exits with 4 if something can't work
    Doctor(DoctorArgs),
    /// The BGP sessions of this host, worst first, and why one is down; exits with 4 if not all is as intended
    Bgp(BgpArgs),
    /// Which way BIRD sends packets to an address, why that way, and what else was possible; exits with 1 if there is none
    Route(RouteArgs),
    /// Let others ask this host's BIRD over HTTP, as the front ends of bird-lg do, and change nothing
    LookingGlass(GlassArgs),
    /// Whether somebody in the network answers, how fast, and by which way; exits with 1 if nothing comes back
    Ping(PingArgs),
    /// The WireGuard device of this host's agent, in the words of `wg show`, with names
    Show {
        /// Which network, if several are on this host
        network: Option<String>,
        /// List all prefixes of each peer, however many BGP has told of
        #[arg(long)]
        all: bool,
    },
    /// Let the agent read the network file again now
    Reload {
        /// Which network, if several are on this host
        network: Option<String>,
    },
    /// Bring this host to the plan, once; through the agent, if one runs
    Apply(ApplyArgs),
    /// Say that what `apply --confirm` changed is well
    Confirm {
        /// Which network, if several are on this host
        network: Option<String>,
    },
    /// Have other entry nodes take this host's clients, and wait until none is left
    Drain(DrainArgs),
    /// Let this host's agent take clients again
    Undrain {
        /// Which network, if several are on this host
        network: Option<String>,
    },
    /// Remove everything of a network from this host
    Down(DownArgs),
    /// Run the embedded WireGuard engine on an interface, as `wireguard-go` does
    Engine(EngineArgs),
    /// Print the JSON Schema of network files
    Schema,
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write the pages of all commands
    Man {
        /// Write one page per command into this directory
        #[arg(short = 'o', long = "output", value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A network file; or files and folders of hosts, such as /etc/wireguard: wg-quick, `wg show all dump`,
    /// systemd-networkd, EdgeOS, VyOS, RouterOS, scripts
    #[arg(default_value = "network.toml")]
    pub paths: Vec<PathBuf>,
    /// Exit with 3 if there are warnings
    #[arg(long)]
    pub strict: bool,
    /// Leave out findings of these codes, which must not be errors
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub accept: Vec<String>,
    /// Judge dates as of this day, instead of today
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    pub today: Option<Date>,
    /// Print findings as JSON
    #[arg(long, conflicts_with = "sarif")]
    pub json: bool,
    /// Print findings as SARIF 2.1.0, for annotations in code review
    #[arg(long)]
    pub sarif: bool,
    /// Tell what a code means, why it hurts and how to mend it; without a code, list all
    #[arg(long, value_name = "CODE", num_args = 0..=1, conflicts_with_all = ["json", "sarif", "strict", "accept"])]
    pub explain: Option<Option<String>>,
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| "write year, month and day, such as 2026-03-31".to_owned())
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The network file (TOML, or YAML or JSON by its extension)
    #[arg(default_value = "network.toml")]
    pub file: PathBuf,
    /// Show this node or client only
    pub member: Option<String>,
    /// Print the whole plan as JSON
    #[arg(long, conflicts_with_all = ["graph", "diff"])]
    pub json: bool,
    /// Print a drawing
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["diff", "member"])]
    pub graph: Option<GraphFormat>,
    /// Show what changes from an earlier plan (`plan --json`) or network file, by default from the plan last
    /// recorded; records nothing; exits with 2 if there are differences
    #[arg(long, value_name = "OLD", num_args = 0..=1, require_equals = true)]
    pub diff: Option<Option<PathBuf>>,
    /// Fail instead of changing network.lock
    #[arg(long)]
    pub locked: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum GraphFormat {
    Svg,
    Dot,
    Mermaid,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Files, or folders with one folder per host: wg-quick, dumps of `wg`, systemd-networkd, EdgeOS, VyOS, RouterOS, scripts
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Write the network file here; it must not exist yet
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write private keys that were read to DIR/NAME.key (0600)
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Name of the network
    #[arg(long, default_value = "imported")]
    pub name: String,
    /// Say what hosts would be told differently; exits with 2 if there is anything
    #[arg(long)]
    pub verify: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The network file (TOML, or YAML or JSON by its extension), or folders and files of other programs, as for `import`
    #[arg(default_value = "network.toml", value_name = "FILE|DIR")]
    pub paths: Vec<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The network file (TOML, or YAML or JSON by its extension), or a folder of other programs' files, as for `import`
    #[arg(value_name = "FILE|DIR")]
    pub file: PathBuf,
    /// A node, a client, a site or an address
    pub from: String,
    /// Another
    pub to: String,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// Ask about connections to these ports only: tcp/443, udp/53, tcp/8000-8100, tcp, udp or icmp
    #[arg(long, value_name = "PORTS")]
    pub port: Option<String>,
}

#[derive(Debug, Args)]
pub struct SurviveArgs {
    /// The network file (TOML, or YAML or JSON by its extension), or a folder of other programs' files, as for `import`
    #[arg(default_value = "network.toml", value_name = "FILE|DIR")]
    pub file: PathBuf,
    /// Fail every two of them at once, too
    #[arg(long)]
    pub pairs: bool,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The network file (TOML, or YAML or JSON by its extension)
    #[arg(default_value = "network.toml")]
    pub file: PathBuf,
    /// Print these nodes' or clients' files; with -o, write theirs only
    pub members: Vec<String>,
    /// Write files below this directory, one directory per node and client
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Render for this platform instead of those in the network file
    #[arg(long, value_name = "PLATFORM", value_parser = platforms())]
    pub platform: Option<Platform>,
    /// What routers were told before, so that they are told what to take away: a plan (`plan --json`) or network file; by
    /// default the plan last recorded
    #[arg(long, value_name = "OLD")]
    pub previous: Option<PathBuf>,
    /// Instead: static routes and DHCP options for the routers of sites, routes-SITE.txt
    #[arg(long, conflicts_with_all = ["members", "platform", "keys"])]
    pub routes: bool,
    /// Instead: everybody's names, as a hosts file and as zones for a name server
    #[arg(long, conflicts_with_all = ["members", "platform", "keys"])]
    pub names: bool,
    /// Instead: what security groups of clouds let in for each node, ingress.txt
    #[arg(long, conflicts_with_all = ["members", "platform", "keys"])]
    pub ingress: bool,
    /// Instead: the half of a foreign router, for its operator: wg-quick, BIRD, FRR, EdgeOS, VyOS
    #[arg(long, value_name = "NAME", conflicts_with_all = ["members", "platform", "keys"])]
    pub neighbour: Option<String>,
    /// Put private keys in, from DIR/NAME.key; without it, files read the key on the host when they are used
    #[arg(long, value_name = "DIR")]
    pub keys: Option<PathBuf>,
    /// Path of the private key on the hosts, where it is not put in (%i: the device); by default what the platform uses,
    /// /etc/wireguard/%i.key for wg-quick
    #[arg(long, value_name = "PATH", conflicts_with = "keys")]
    pub key_path: Option<String>,
    /// Print a QR code for the WireGuard apps instead of text (needs --keys)
    #[arg(long, requires = "keys", requires = "members", conflicts_with_all = ["output", "platform"])]
    pub qr: bool,
    /// Fail instead of changing network.lock
    #[arg(long)]
    pub locked: bool,
}

/// The words for platforms, as in network files.
fn platforms() -> impl TypedValueParser<Value = Platform> {
    let platform = |word: String| Platform::ALL.into_iter().find(|platform| platform.word() == word);
    PossibleValuesParser::new(Platform::ALL.map(Platform::word))
        .try_map(move |word| platform(word).ok_or("no platform"))
}

#[derive(Debug, Args)]
pub struct ClientArgs {
    #[command(subcommand)]
    pub command: ClientCommand,
}

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Add a client: a new key, an entry in the network file, and its configuration to hand over
    Add(ClientAddArgs),
    /// Remove a client from the network file: it is refused as soon as its servers are told
    Remove(ClientRemoveArgs),
}

#[derive(Debug, Args)]
pub struct ClientAddArgs {
    /// Its name
    pub name: String,
    /// The network file (TOML)
    #[arg(long, value_name = "FILE", default_value = "network.toml")]
    pub network: PathBuf,
    /// The nodes it connects to, the preferred one first; by default all entry nodes
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub via: Vec<String>,
    /// Words by which the policy selects it
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// The last day on which it belongs to the network
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub expires: Option<String>,
    /// Its own public key, if it has made one and keeps the private half; no key is made then
    #[arg(long, value_name = "KEY", value_parser = PublicKey::parse)]
    pub public_key: Option<PublicKey>,
    /// Write the configuration to this new file (0600) instead of printing it
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print a QR code for the WireGuard apps
    #[arg(long, conflicts_with = "public_key")]
    pub qr: bool,
    /// Write that QR code to this new file as a PNG image (0600)
    #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
    pub png: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ClientRemoveArgs {
    /// Its name
    pub name: String,
    /// The network file (TOML)
    #[arg(long, value_name = "FILE", default_value = "network.toml")]
    pub network: PathBuf,
}

#[derive(Debug, Args)]
pub struct ClientWatchArgs {
    /// Name of the interface: the kernel's WireGuard, or a program's such as wireguard-go
    pub interface: String,
    /// The server's public key, if the interface has several peers
    #[arg(long, value_name = "KEY", value_parser = PublicKey::parse)]
    pub peer: Option<PublicKey>,
    /// An address of the server inside the tunnel that answers echo requests; by default the first of its allowed-ips
    #[arg(long, value_name = "ADDRESS")]
    pub ping: Option<std::net::IpAddr>,
    /// Where the server is dialled, the preferred one first; several are raced. By default where it is dialled now
    #[arg(long = "endpoint", value_name = "ADDRESS:PORT")]
    pub endpoints: Vec<std::net::SocketAddr>,
    /// The TCP port that entry nodes open while they take clients: the first endpoint that accepts there is dialled
    #[arg(long, value_name = "PORT", default_value_t = wayleave_core::limits::READY_PORT_DEFAULT)]
    pub ready_port: u16,
}

/// A day, as it was written.
fn day(text: &str) -> Result<String, String> {
    date(text).map(|_| text.to_owned())
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Print a new private key, as `wg genkey`
    Generate {
        /// Make a preshared key instead, as `wg genpsk`
        #[arg(long)]
        preshared: bool,
        /// Write it to this new file (0600) and print the public key
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the public key of a private key, as `wg pubkey`
    Public {
        /// File with the private key; - is stdin
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Say what a key file holds: kind, public key, permissions
    Show {
        /// File with a private or public key; - is stdin
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Print the private key too
        #[arg(long)]
        show_secrets: bool,
    },
    /// Check that key files belong to the network's public keys and are readable by nobody else
    Check {
        /// The network file
        #[arg(default_value = "network.toml")]
        file: PathBuf,
        /// Directory of the key files, NAME.key
        #[arg(long, value_name = "DIR", default_value = "keys")]
        keys: PathBuf,
    },
    /// Make keys for all nodes and clients that have none
    Make {
        /// The network file
        #[arg(default_value = "network.toml")]
        file: PathBuf,
        /// Directory for the key files, NAME.key
        #[arg(long, value_name = "DIR", default_value = "keys")]
        keys: PathBuf,
    },
}

/// Which node of which network this host is.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// The network file
    #[arg(long, value_name = "FILE", default_value = "network.toml")]
    pub network: PathBuf,
    /// Which node or client this host is; by default the one with the host's name
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// What runs WireGuard
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// File with the private key; by default systemd's credential wayleave-private-key, or /etc/wireguard/DEVICE.key
    #[arg(long, value_name = "FILE")]
    pub private_key: Option<PathBuf>,
    /// File with the private key that all entry nodes share; by default the credential wayleave-entry-key, or
    /// /etc/wireguard/DEVICE.key
    #[arg(long, value_name = "FILE")]
    pub entry_key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// The kernel's WireGuard where it has one, else the embedded engine
    Auto,
    /// The kernel's WireGuard
    Kernel,
    /// The embedded engine
    Engine,
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(flatten)]
    pub host: HostArgs,
    /// Remove everything from the host when it ends
    #[arg(long)]
    pub cleanup: bool,
    /// Where /healthz and /readyz are answered over HTTP: ADDRESS:PORT, or `off`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:51818", value_parser = http_address)]
    pub http: HttpAddress,
    /// Write down, line by line, all that links are judged by and what comes of it, to be played again elsewhere; 64 MiB at most
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Where the agent answers over HTTP, if anywhere.
#[derive(Debug, Clone, Copy)]
pub struct HttpAddress(pub Option<SocketAddr>);

fn http_address(text: &str) -> Result<HttpAddress, String> {
    if text == "off" {
        return Ok(HttpAddress(None));
    }
    let address = text.parse().map_err(|_| "give an address with a port, such as 127.0.0.1:51818, or `off`")?;
    Ok(HttpAddress(Some(address)))
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which network, if several are on this host
    pub network: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    /// Again every second, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub host: HostArgs,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct BgpArgs {
    /// Which network, if several are on this host
    pub network: Option<String>,
    /// Ask a BIRD of anybody's by its control socket, such as /run/bird/bird.ctl, instead of the agent
    #[arg(long, value_name = "PATH", conflicts_with = "network")]
    pub socket: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RouteArgs {
    /// An address
    pub address: std::net::IpAddr,
    /// Which network, if several are on this host
    #[arg(long)]
    pub network: Option<String>,
    /// Ask a BIRD of anybody's by its control socket, such as /run/bird/bird.ctl, instead of the agent's
    #[arg(long, value_name = "PATH", conflicts_with = "network")]
    pub socket: Option<PathBuf>,
    /// One of BIRD's tables, instead of those that it looks at by itself
    #[arg(long, value_name = "TABLE", value_parser = symbol)]
    pub table: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct GlassArgs {
    /// Which network, if several are on this host
    pub network: Option<String>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    pub listen: std::net::SocketAddr,
    /// Listen at an address that everybody can reach, too
    #[arg(long)]
    pub public: bool,
    /// Ask a BIRD of anybody's by its control socket, such as /run/bird/bird.ctl, instead of the agent's
    #[arg(long, value_name = "PATH", conflicts_with = "network")]
    pub socket: Option<PathBuf>,
}

/// A name of BIRD's.
fn symbol(text: &str) -> Result<String, String> {
    let is_symbol =
        !text.is_empty() && text.len() <= 64 && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    is_symbol.then(|| text.to_owned()).ok_or_else(|| "a table's name has letters, digits and underscores".to_owned())
}

#[derive(Debug, Args)]
pub struct PingArgs {
    /// Name of a node or client
    pub name: String,
    /// Which network, if several are on this host
    #[arg(long)]
    pub network: Option<String>,
    /// How many requests
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Seconds from one request to the next
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: std::time::Duration,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub host: HostArgs,
    /// Print each change and its command, change nothing; exits with 2 if there is anything to change
    #[arg(long)]
    pub dry_run: bool,
    /// Go back by itself after this time, such as 60s or 5m, unless `wayleave confirm` is run before
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "dry_run")]
    pub confirm: Option<std::time::Duration>,
}

/// Seconds, with a fraction if need be.
fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.01..=3600.0).contains(seconds));
    seconds.map(std::time::Duration::from_secs_f64).ok_or_else(|| "write seconds between 0.01 and 3600".to_owned())
}

/// A time in seconds or minutes, up to an hour.
fn time(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "write a time between 1s and 60m, such as 60s".to_owned();
    let (number, unit) = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 60),
        _ => (text, 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
    if (1..=3600).contains(&seconds) { Ok(std::time::Duration::from_secs(seconds)) } else { Err(wrong()) }
}

#[derive(Debug, Args)]
pub struct DownArgs {
    /// Which network, if several are on this host
    pub network: Option<String>,
    /// Don't print the changes
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Which network, if several are on this host
    pub network: Option<String>,
    /// Seconds to wait for clients to be elsewhere; 0 does not wait
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub wait_s: u64,
}

#[derive(Debug, Args)]
pub struct EngineArgs {
    /// Name of the interface
    pub interface: String,
    /// Stay in the foreground
    #[arg(short, long)]
    pub foreground: bool,
}

#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    pub command: LabCommand,
}
