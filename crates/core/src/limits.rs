//! Every bound in `core`, with what it prevents.

/// Bytes in a name: a DNS label's limit (RFC 1035), since names become labels.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes in a device's name: the kernel's `IFNAMSIZ` less the terminating zero.
pub const DEVICE_NAME_BYTES_MAX: usize = 15;
/// Bytes in one source file. 10,000 nodes with keys take 2 MB; beyond this it is not a network file.
pub const SOURCE_BYTES_MAX: usize = 8 << 20;
/// Files reached through `include`, itself included: stops fan-out bombs.
pub const SOURCES_MAX: usize = 1_000;
/// Bytes in all sources of a network together: many small files must not add up to what one may not be.
pub const SOURCES_BYTES_MAX: usize = 64 << 20;
/// Depth of nested includes, and so of the chain that an error has to explain.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// Depth of nested tables and arrays in a file; the format needs 4. Bounds recursion.
pub const NESTING_DEPTH_MAX: usize = 16;
/// Columns by which a YAML line may be indented, markers included. Bounds the recursion of the YAML parser, which has no
/// limit of its own for blocks.
pub const YAML_INDENT_MAX: usize = 128;
/// Findings kept per run: beyond this nobody reads on, and 10 MB of garbage must not print 10 million lines.
pub const FINDINGS_MAX: usize = 200;
/// Nodes in a network: the number the planner is measured for, times ten, so that node numbers fit everywhere.
pub const NODES_MAX: usize = 100_000;
/// Links in a network: a full mesh of 4,000 nodes. Bounds memory when a rule says `mesh = ["*"]` by mistake.
pub const LINKS_MAX: usize = 8_000_000;
/// Smallest MTU of a device: IPv6's minimum (RFC 8200 section 5).
pub const MTU_MIN: u16 = 1280;
/// Largest MTU of a device: what a jumbo underlay of 9000 can carry.
pub const MTU_MAX: u16 = 8940;
/// Device MTU when the file says nothing: 1500 less 80 (IPv6 40, UDP 8, WireGuard 32).
pub const MTU_DEFAULT: u16 = 1420;
/// Listen port when the file says nothing: the one everybody's firewall example opens.
pub const PORT_DEFAULT: u16 = 51820;
/// Seconds between keepalives when NAT needs them: under the 30 s that the shortest common UDP mapping lives.
pub const KEEPALIVE_S_DEFAULT: u16 = 25;
/// Round-trip time assumed inside a region when the file gives none, in microseconds.
pub const RTT_US_SAME_REGION: u64 = 1_000;
/// Round-trip time assumed between regions when the file gives none, in microseconds.
pub const RTT_US_ELSEWHERE: u64 = 50_000;
/// Largest round-trip time that a file may state, in milliseconds; a minute is no network.
pub const RTT_MS_MAX: f64 = 60_000.0;
/// Places that drop packets which a proof tells apart. Real trouble has a few; a full mesh with all keys wrong has as
/// many as links, and nobody reads on.
pub const BLAMES_MAX: usize = 10_000;
/// Circling packets to addresses of nobody that a proof names.
pub const LOOPS_NAMED_MAX: usize = 20;
/// Failures that one run of `survive` examines: all pairs of 2,000 nodes; pairs of 50,000 links are left out and counted.
pub const SURVIVE_CASES_MAX: usize = 2_000_000;
/// Members that a failure names as losing something.
pub const SURVIVE_MEMBERS_NAMED_MAX: usize = 50;
/// Pairs and failures that a refuted assertion names.
pub const BROKEN_NAMED_MAX: usize = 6;
/// Assertions' links at most: a path of more is none.
pub const HOPS_MAX: u16 = 64;
/// Pairs that one assertion may be about.
pub const ASSERTED_PAIRS_MAX: usize = LINKS_MAX;
/// Files read by one import, and bytes of all of them: 10,000 hosts of some files each; a wrong path must not read a disk.
pub const IMPORT_FILES_MAX: usize = 40_000;
/// Bytes of one imported file: a hub of 10,000 peers takes 2 MB.
pub const IMPORT_FILE_BYTES_MAX: usize = 16 << 20;
/// Bytes of all imported files together.
pub const IMPORT_BYTES_MAX: usize = 256 << 20;
/// Depth of folders below a path that is imported.
pub const IMPORT_DEPTH_MAX: usize = 8;
/// Peers of one imported device: the number of nodes a network may have.
pub const IMPORT_PEERS_MAX: usize = NODES_MAX;
/// Peers of one imported router's device, which are searched one by one.
pub const IMPORT_ROUTER_PEERS_MAX: usize = 2_000;
/// Mistakes in one imported file, after which the rest is left out: as many as a device may have peers. Beyond this it is no
/// configuration, and megabytes of noise must not be read to their end.
pub const IMPORT_MISTAKES_MAX: usize = IMPORT_PEERS_MAX;
/// Words in a remark that may be a name; more are a sentence.
pub const IMPORT_REMARK_WORDS_MAX: usize = 4;
/// Members up to which an import tries which regions, hubs and times explain what was read: each try plans the network.
pub const IMPORT_SEARCH_MEMBERS_MAX: usize = 64;
/// Plans made by that search.
pub const IMPORT_SEARCH_PLANS_MAX: usize = 400;
/// Rounds in which times are changed until paths are those that were read.
pub const IMPORT_WEIGH_ROUNDS_MAX: usize = 300;
/// Branches of `case` in a script that are told apart: loops come by the same ones again.
pub const IMPORT_SCRIPT_CASES_MAX: usize = 1_000;
/// Lines that a script may run and write, those of its loops each time.
pub const IMPORT_SCRIPT_LINES_MAX: usize = 200_000;
/// Bytes up to which variables are filled into a script's text: a key takes 44, a list of prefixes some thousand.
pub const IMPORT_SCRIPT_VALUE_BYTES_MAX: usize = 64 << 10;
/// Devices in one imported file: they are searched one by one, and a router has hundreds at most.
pub const IMPORT_DEVICES_MAX: usize = 2_000;
/// Kinds of traffic that a policy tells apart: one bit each in a proof. A few dozen services need a few dozen.
pub const PORT_CLASSES_MAX: usize = 128;
