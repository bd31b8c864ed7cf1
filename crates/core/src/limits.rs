//! Every bound in `core`, with what it prevents.
//!
//! First those of files, networks, proofs and imports; then those of nodes that run: messages and records of the exchange, and
//! the times by which links are judged.

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
/// Listen port of the device that clients roam between when the file says nothing: the next one.
pub const CLIENTS_PORT_DEFAULT: u16 = 51821;
/// That device's name when the file says nothing.
pub const CLIENTS_DEVICE_DEFAULT: &str = "wg-clients";
/// TCP port of readiness when the file says nothing: the one before WireGuard's, as people's health checks have it.
pub const READY_PORT_DEFAULT: u16 = 51819;
/// Routes of one family that a neighbour may be allowed: twice the internet's, for BIRD's memory.
pub const ROUTES_MAX: u32 = 2_000_000;
/// Routes of one family that a neighbour may announce when the file says nothing: DN42 has about 1,400.
pub const ROUTES_DEFAULT: u32 = 10_000;
/// UDP ports for neighbours in DN42 are this and the last four digits of their AS number.
pub const NEIGHBOUR_PORTS: u16 = 20_000;
/// Where servers of route origin authorisations listen when the file says nothing.
pub const RTR_PORT_DEFAULT: u16 = 8282;
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
/// Hosts up to which `check` walks packets between all pairs of them: costs grow with the square.
pub const CHECK_WALKED_HOSTS_MAX: usize = 5_000;
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
/// Bytes of one message of the exchange: with its headers inside an MTU of 1280, so that it is never cut into pieces.
pub const EXCHANGE_MESSAGE_BYTES_MAX: usize = 1_200;
/// Receipts in one message; they leave with the next one, so that more never wait.
pub const EXCHANGE_RECEIPTS_MAX: usize = 64;
/// Messages with records that one link may have under way at first, and after losses: some 60 records each, and no burst that a
/// slow line would drop (a new TCP connection begins with as many, RFC 6928).
pub const EXCHANGE_UNDER_WAY_MIN: usize = 10;
/// The same at most, when one after the other has arrived: 600 kB in a round trip, so that a hundred thousand claims take ten of them.
pub const EXCHANGE_UNDER_WAY_MAX: usize = 512;
/// Records that go out twice when they have been lost: some moves at a time, and never what a node is told that knows little.
pub const EXCHANGE_TWICE_MAX: usize = 16;
/// Records up to which a node has them compared with all neighbours at once, if need be: as many as fit in a few round trips.
/// With more, fifty neighbours would each send everything to a node that starts anew.
pub const EXCHANGE_COMPARE_ALL_MAX: usize = 1_024;
/// Milliseconds without news over a link after which it is another one's turn to compare: a round trip and a lost message.
pub const EXCHANGE_COMPARE_MS: u64 = 1_000;
/// Milliseconds for which a claim counts as news, and the part that it is in is not compared: the longest round trip, and a message
/// that is sent twice. Two nodes that compare it would each send the other some hundred records for one that is under way.
pub const EXCHANGE_NEWS_MS: u64 = 1_000;
/// Claims that are news at a time, beyond which everything is compared: who learns very much is being told what it had missed.
pub const EXCHANGE_NEWS_MAX: usize = 64;
/// Records that one link has yet to carry, one by one; beyond this a comparison of summaries takes over.
pub const EXCHANGE_PENDING_MAX: usize = 4_096;
/// Records that a comparison may find wanting at a time, if nothing waits on other links: each time costs a round trip, and a hundred
/// thousand claims are to take few. Some 2 MB.
pub const EXCHANGE_COMPARED_MAX: usize = 32_768;
/// The same for all links of a node together, at some 60 bytes each: with a thousand links, every record is pending a thousand times.
pub const EXCHANGE_PENDING_ALL_MAX: usize = 131_072;
/// The same for a link over which the other end is not heard, and for each of very many links: a message's worth.
pub const EXCHANGE_PENDING_MIN: usize = 32;
/// Generations of one record: a change a second for 68 years. What is beyond is a mistake, and must not stop its origin.
pub const EXCHANGE_GENERATION_MAX: u32 = 1 << 31;
/// Records of links that the network file does not have: members with a newer file have some.
pub const EXCHANGE_STRANGERS_MAX: usize = 1_024;
/// Seconds for which such a record is kept at least when there is no room for others.
pub const EXCHANGE_STRANGER_S: u64 = 3_600;
/// Milliseconds between two messages with the same record when no receipt comes, at most.
pub const EXCHANGE_RETRY_MS_MAX: u64 = 5_000;
/// Links from which on a node leaves passing on to those that the sender reaches itself: a full mesh of a thousand would
/// otherwise carry each record a million times.
pub const EXCHANGE_COVER_LINKS_MIN: usize = 16;
/// Milliseconds for which two nodes' digests may differ before summaries are compared: news are under way that long.
pub const SUMMARY_WAIT_MS_MIN: u64 = 300;
/// The same at most, after comparisons that did not help: the other end has another network file.
pub const SUMMARY_WAIT_MS_MAX: u64 = 600_000;
/// Milliseconds between probes of a link that carries traffic: with [`PROBE_BURST_MIN`] it makes half a second until a cut
/// is certain, for half a kilobyte a second each way.
pub const PROBE_FAST_MS: u64 = 200;
/// Milliseconds by which a probe may be late before a link is suspected: what a busy host and a short queue take.
pub const PROBE_SLACK_MS: u64 = 50;
/// Milliseconds between probes of a link that is suspected.
pub const PROBE_BURST_GAP_MS: u64 = 20;
/// Probes of a link that is suspected: on a link that loses nothing, one is enough; a few more for chance.
pub const PROBE_BURST_MIN: u32 = 10;
/// The same at most, on a link that loses half of everything: then a verdict takes nearly a second.
pub const PROBE_BURST_MAX: u32 = 40;
/// Verdicts on a suspected link that are put off because the program got no processor when they were due: on a machine that is
/// always late, a dead link must be called dead in the end.
pub const LATE_VERDICTS_MAX: u32 = 3;
/// Seconds between probes of a link without traffic, for each link of its busier end. A probe without a session costs
/// 700 bytes with handshake, answer and keepalive, both directions and IPv6 headers counted; so a node stays under 1 MB a day
/// with up to 11 links.
pub const PROBE_IDLE_S_PER_LINK: u64 = 66;
/// The same at most: a node with very many links may spend more, so that failures are still found.
pub const PROBE_IDLE_S_MAX: u64 = 720;
/// Seconds for which a link is probed fast after it has carried traffic.
pub const PROBE_FAST_HOLD_S: u64 = 5;
/// Seconds for which a new link is probed fast, to know its round-trip time.
pub const PROBE_FIRST_S: u64 = 3;
/// Seconds between probes of a link whose cost is in doubt, because of losses.
pub const PROBE_DOUBT_S: u64 = 2;
/// Seconds between probes of a link that is down: at first, after a minute, after ten.
pub const PROBE_DOWN_S: [u64; 3] = [1, 5, 15];
/// Milliseconds for an answer on a link whose round-trip time is not known.
pub const PROBE_PATIENCE_MS: u64 = 500;
/// Seconds after which a silent peer's handshake says that it is gone: WireGuard's sessions live 180 s (whitepaper
/// section 6.1), and a new one may need a try more.
pub const HANDSHAKE_STALE_S: u64 = 200;
/// Seconds between two tries of a handshake, and one more (whitepaper section 6.1: 5 s, and up to a third of one).
pub const HANDSHAKE_RETRY_S: u64 = 6;
/// Seconds after a handshake from which on another one is not the renewal of its session (at 120 s) but a new beginning.
pub const SESSION_ENDED_S: u64 = 150;
/// Seconds of silence after which a session may have ended, so that a first round trip contains a handshake.
pub const SESSION_FRESH_S: u64 = 100;
/// Probes before losses are believed.
pub const LOSS_SAMPLES_MIN: u16 = 20;
/// Lost round trips in a thousand that are taken for chance.
pub const LOSS_IGNORED_PERMILLE: u32 = 30;
/// Microseconds that a lost packet costs: TCP's first timeout (RFC 6298).
pub const LOSS_WAIT_US: u64 = 1_000_000;
/// Microseconds by which a cost has to differ from what is believed to be told, at least.
pub const COST_MARGIN_US: u32 = 5_000;
/// The same as a part of what is believed.
pub const COST_MARGIN_PERCENT: u64 = 25;
/// Milliseconds for which it has to differ; the first time, and later.
pub const COST_SETTLE_FIRST_MS: u64 = 1_000;
/// See [`COST_SETTLE_FIRST_MS`].
pub const COST_SETTLE_MS: u64 = 10_000;
/// Seconds between a change of a link's told cost and the news that it is less again.
pub const COST_EVERY_S: u64 = 60;
/// Milliseconds for which a link has to work after its first failure before it is used again.
pub const HOLD_MS: u64 = 5_000;
/// The same for a link that has never worked.
pub const HOLD_FIRST_MS: u64 = 1_000;
/// How often that doubles: to 320 s.
pub const HOLD_DOUBLINGS_MAX: u32 = 6;
/// Seconds without a failure after which earlier ones are forgotten.
pub const HOLD_FORGET_S: u64 = 1_200;
/// Bytes on WireGuard's counters from which on something was carried: an empty TCP segment has 80, a keepalive 32.
pub const TRAFFIC_BYTES_MIN: u64 = 80;
/// Milliseconds after which a node that has started hands out its first link states, if its neighbours have told theirs:
/// two round trips over a long link, and a handshake.
pub const FIRST_STATES_MS_MIN: u64 = 700;
/// The same if nobody has told any.
pub const FIRST_STATES_MS_MAX: u64 = 3_000;
/// Milliseconds between two changes of link states that are handed out, after the first: planning takes some of them, and a
/// hub's end is told by all its neighbours.
pub const STATES_EVERY_MS: u64 = 50;
/// Milliseconds from hearing of a better path to sending by it: until then everybody else has heard of it too, a lost message or
/// two included, and lets in what comes that way.
pub const EXPECT_MS: u64 = 1_000;
/// Milliseconds between two such announcements: each is a plan, and a hub that comes back has hundreds of links that do so one
/// after the other.
pub const EXPECT_EVERY_MS: u64 = 200;
/// Milliseconds by which nodes follow the ends of a link whose state is a better one: what planning and carrying out takes.
pub const FOLLOW_MS: u64 = 100;
/// Milliseconds for which packets of a client are no sign that it is here after another server has claimed it: what was under
/// way or was passed on by that server comes in that time.
pub const CLAIM_GRACE_MS: u64 = 1_000;
/// Milliseconds for which a client counts as being where it was when BGP tells of it no more: a BIRD that is started anew has its routes
/// again in that time.
pub const CLAIM_FADES_MS: u64 = 10_000;
/// The same for who has let it go itself, so that it believes nobody else before the others do, and no packet is sent back and forth:
/// longer by more than news take.
pub const CLAIM_FADES_MS_OWN: u64 = CLAIM_FADES_MS + 2_000;
/// Local preference that BGP gives the first of a site's gateways; each after it has one less.
pub const SITE_PREFERENCE: u32 = 1_000;
/// What a gateway that is to go has less: more than there are gateways of a site in any network, so that it comes after all others.
pub const SITE_PREFERENCE_LEAVING: u32 = 500;
/// Milliseconds after the start at which it is taken for granted that BGP has told all claims that there are: a session that can be
/// had is there by then.
pub const CLAIMS_TOLD_MS_MAX: u64 = 15_000;
/// Seconds of silence after which a server lets a client go. One without keepalives on a public address stays reachable
/// through its last server for that long.
pub const CLAIM_SILENT_S: u64 = 900;
/// The same while the server drains: load balancers forget a flow after 30 s without packets, and then the client's next packet
/// goes elsewhere.
pub const CLAIM_DRAIN_SILENT_S: u64 = 30;
/// Clients that a draining server has others call at a time, and the milliseconds until the next ones: 2,560 a second, each a handshake
/// of half a millisecond over there, so that a thousand of whom none answers are let go within five seconds.
pub const DRAIN_ASKS_PER_TURN: usize = 128;
/// See [`DRAIN_ASKS_PER_TURN`].
pub const DRAIN_TURN_MS: u64 = 50;
/// Milliseconds that such a call may take: the message, a handshake over the longest way, and the news that it is done.
pub const DRAIN_ASK_MS: u64 = 700;
/// Calls that a client may leave unanswered until it is let go: all of them within five seconds.
pub const DRAIN_ASKS_MAX: usize = 6;
/// Of one server's calls, those from an address of its own that come first: one may be lost.
pub const DRAIN_DIRECT_ASKS: usize = 2;
/// Milliseconds until a client is tried again that lives and was reached by nobody.
pub const DRAIN_ASK_MS_LATER: u64 = 5_000;
/// Clients that a server takes from others in a second: more than it has handshakes for.
pub const OFFERS_PER_S: usize = 2_048;
/// Milliseconds after which a call by a device that is not told when it is answered is over: the kernel's WireGuard would try again
/// after five seconds, when the client may have been left where it was.
pub const CALL_MS_MAX: u64 = 3_000;
/// Milliseconds after the answer to such a call at which the client is told again where its server is: packets of the server that it
/// has left, which were under way, lead it back. The last one is later than the news of the claim anywhere, on a busy machine too, and
/// before the other server passes nothing on any more ([`HANDOVER_SILENT_MS`]).
pub const NUDGES_MS: [u64; 6] = [30, 100, 250, 500, 900, 2_000];
/// Milliseconds between two looks at a kernel's device of clients.
pub const LOOK_MS: u64 = 200;
/// Milliseconds after a packet that may have begun a session at which such a device is looked at for it: it opens packets in
/// threads of its own, after they were seen on their way to it.
pub const LOOKS_AFTER_HINT_MS: [u64; 4] = [1, 8, 40, 100];
/// Looks for such packets at a time; in the long run there is one for each [`LOOK_MS`], since strangers can send them as well.
pub const HINTED_LOOKS_MAX: u32 = 10;
/// A look may take this share of the time at most: with thousands of clients a device is looked at less often.
pub const LOOK_SHARE: u32 = 20;
/// The same for clients that only others remember to be here: one that still is sends a keepalive within 25 s.
pub const CLAIM_REMEMBERED_S: u64 = 30;
/// Seconds between two searches for silent clients at least: each looks at all that a server holds.
pub const CLAIM_CHECK_S: u64 = 1;
/// Reasons named with a change of link states; further ones are counted.
pub const REASONS_NAMED_MAX: usize = 4;
/// Milliseconds without a sign of life after which a client that sends nothing asks its server for an echo: 4 MB a
/// day, there and back.
pub const CLIENT_IDLE_MS: u64 = 5_000;
/// The same for a client whose packets go unanswered: longer than any round trip.
pub const CLIENT_ASK_MS: u64 = 1_000;
/// Milliseconds between two echo requests of a client, and what each has to be answered.
pub const CLIENT_CHECK_MS: u64 = 1_000;
/// Unanswered echo requests after which a server is silent: three that are lost in a row are no chance.
pub const CLIENT_CHECKS_MAX: u32 = 3;
/// The same for a server that has never answered one: WireGuard sends a keepalive ten seconds after it was sent something, and begins a
/// handshake after fifteen.
pub const CLIENT_CHECKS_MAX_MUTE: u32 = 20;
/// Milliseconds until a client changes its port a second time: a handshake over the longest way, and a lost packet.
pub const CLIENT_REBIND_MS: u64 = 3_000;
/// How often that doubles, up to a minute, each time when all endpoints have been dialled.
pub const CLIENT_REBIND_DOUBLINGS_MAX: u32 = 5;
/// Milliseconds between two races of a silent server's endpoints: a packet to each of them.
pub const CLIENT_RACE_MS: u64 = 5_000;
/// Unanswered echo requests after which the endpoints are raced, so that it is known who lives when the server counts as silent.
pub const CLIENT_RACE_CHECKS: u32 = 2;

/// Flows of clients that are being handed over at a time, each a socket of the agent: a server that dies sends its clients
/// elsewhere within seconds, and a flow lives for one.
pub const HANDOVER_FLOWS_MAX: usize = 512;
/// The same at a server that drains, which makes them itself: where most clients are behind NATs that let in answers only, each
/// needs one for as long as its session lives.
pub const HANDOVER_FLOWS_MAX_DRAINING: usize = 4_096;
/// Flows that may begin in a second, so that who guesses indices gets nowhere.
pub const HANDOVER_FLOWS_PER_S: usize = 256;
/// Datagrams passed on for a flow that nobody has vouched for: a round trip at 100 packets a second, twice.
pub const HANDOVER_UNKNOWN_DATAGRAMS_MAX: usize = 64;
/// Milliseconds between two calls of a client that comes by the same flow again: packets that it was sent through the server that
/// it left may come after the first call.
pub const HANDOVER_AGAIN_MS: u64 = 300;
/// Milliseconds after a call until a client that still uses its old session is called again: the call, or what confirms the new
/// session to it, was lost. Longer than any round trip, and doubled each time.
pub const HANDOVER_CALL_MS: u64 = 1_000;
/// How often that doubles: a client that no call reaches comes by the other server for as long as its session lives.
pub const HANDOVER_CALL_DOUBLINGS_MAX: u32 = 6;
/// Flows over which nothing has come for so long are forgotten.
pub const HANDOVER_SILENT_MS: u64 = 3_000;
/// The same at a server that drains: a session's life, since only this way leads to a client behind some NATs.
pub const HANDOVER_SILENT_MS_DRAINING: u64 = 180_000;

/// Learned routes to other nodes that a device takes up as its peers' prefixes: a hundred times DN42, and a tenth of the internet. A
/// prefix takes the kernel and the engine some 200 bytes, and every look at the device lists it.
pub const LEARNED_PREFIXES_MAX: usize = 100_000;
