//! Commands around up and down: what they do, as far as it matters to a network.
//!
//! A hook is a line for a shell; its commands are taken apart at `;`, `&&`, `||` and `|`. Known are sysctls that switch
//! forwarding on, iptables rules that let packets through or hide their sources, routes and rules of `ip`, and the private
//! key read from a file. Everything else is kept as text.

use ipnet::IpNet;

use crate::file::Spanned;
use crate::import::hosts::{Effect, Hook};

/// What the commands of a line do, in order.
pub(in crate::import) fn effects(line: &str) -> Vec<Effect> {
    if keeps_routers(line) {
        return Vec::new();
    }
    commands(line).into_iter().map(str::trim).filter(|command| !command.is_empty()).flat_map(effect).collect()
}

/// Whether a line is the loop that is rendered before forwarding over IPv6: it concerns the host alone.
fn keeps_routers(line: &str) -> bool {
    line.starts_with("for d in /proc/sys/net/ipv6/conf/*; do ") && line.ends_with(">\"$d/accept_ra\" ;; esac; done")
}

/// A line cut where one command ends and another begins; not inside quotes.
fn commands(line: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, c) in line.char_indices() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (';' | '|' | '&' | '\n', None) => {
                parts.push(&line[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    // Quotes that don't end are no quotes.
    if quote.is_some() {
        return line.split([';', '|', '&', '\n']).collect();
    }
    parts.push(&line[start..]);
    parts
}

/// The file with the private key that a hook reads.
pub(in crate::import) fn key_path(hook: &Hook) -> Option<Spanned<String>> {
    hook.effects.iter().find_map(|effect| match effect {
        Effect::PrivateKeyFile(path) => Some(Spanned { value: path.clone(), span: hook.command.span }),
        _ => None,
    })
}

fn effect(command: &str) -> Vec<Effect> {
    let words: Vec<&str> = command.split_whitespace().filter(|word| *word != "sudo").collect();
    let Some((program, arguments)) = words.split_first() else { return Vec::new() };
    let program = program.rsplit('/').next().unwrap_or(program);
    let known = match program {
        "sysctl" | "echo" => forwarding(command),
        "iptables" | "iptables-legacy" | "iptables-nft" => iptables(false, arguments).into_iter().collect(),
        "ip6tables" | "ip6tables-legacy" | "ip6tables-nft" => iptables(true, arguments).into_iter().collect(),
        "nft" => nft(arguments).into_iter().collect(),
        "ip" => ip(arguments).into_iter().collect(),
        "wg" => wg(arguments).into_iter().collect(),
        _ => Vec::new(),
    };
    if known.is_empty() { vec![Effect::Other(command.to_owned())] } else { known }
}

fn forwarding(command: &str) -> Vec<Effect> {
    let bare: String = command.chars().filter(|c| !c.is_whitespace() && *c != '"' && *c != '\'').collect();
    let bare = bare.replace('/', ".");
    let on = |key: &str| bare.contains(&format!("{key}=1")) || (bare.starts_with("echo1>") && bare.ends_with(key));
    let v4 = on("net.ipv4.ip_forward") || on("net.ipv4.conf.all.forwarding");
    let v6 = on("net.ipv6.conf.all.forwarding") || on("net.ipv6.conf.default.forwarding");
    [(v4, false), (v6, true)].into_iter().filter(|(on, _)| *on).map(|(_, v6)| Effect::Forwarding { v6 }).collect()
}

fn after<'a>(arguments: &[&'a str], flags: &[&str]) -> Option<&'a str> {
    let at = arguments.iter().position(|word| flags.contains(word))?;
    arguments.get(at + 1).copied()
}

fn iptables(v6: bool, arguments: &[&str]) -> Option<Effect> {
    let chain_at =
        arguments.iter().position(|word| ["-A", "-I", "-D", "--append", "--insert", "--delete"].contains(word))?;
    let removed = ["-D", "--delete"].contains(&arguments[chain_at]);
    let inserted = ["-I", "--insert"].contains(&arguments[chain_at]);
    let chain = *arguments.get(chain_at + 1)?;
    // Without a number it is the first one.
    let number = arguments.get(chain_at + 2).and_then(|word| word.parse().ok()).unwrap_or(1);
    let position = inserted.then_some(number);
    let output = after(arguments, &["-o", "--out-interface"]).map(str::to_owned);
    match (chain, after(arguments, &["-j", "--jump"])?) {
        ("FORWARD", "ACCEPT") => {
            let input = after(arguments, &["-i", "--in-interface"]).map(str::to_owned);
            Some(Effect::ForwardAccept { v6, position, input, output, removed })
        }
        ("POSTROUTING", "MASQUERADE" | "SNAT") => {
            let source = after(arguments, &["-s", "--source"]).and_then(|text| text.parse().ok());
            Some(Effect::Masquerade { v6, output, source, removed })
        }
        (_, "TCPMSS") => Some(Effect::ClampMss { removed }),
        _ => None,
    }
}

/// The size of segments is known, and our own table that does nothing else.
fn nft(arguments: &[&str]) -> Option<Effect> {
    let said = arguments.join(" ");
    if said.contains("maxseg size set")
        && !["masquerade", "snat", "dnat", "drop", "reject"].iter().any(|word| said.contains(word))
    {
        return Some(Effect::ClampMss { removed: false });
    }
    let removes_ours = matches!(arguments, ["delete", "table", "inet", name] if name.starts_with("wayleave-"));
    removes_ours.then_some(Effect::ClampMss { removed: true })
}

fn ip(arguments: &[&str]) -> Option<Effect> {
    let words: Vec<&str> = arguments.iter().copied().filter(|word| !word.starts_with('-')).collect();
    let (object, rest) = words.split_first()?;
    let (verb, rest) = rest.split_first()?;
    let removed = match *verb {
        "add" | "append" | "replace" | "change" => false,
        "del" | "delete" | "flush" => true,
        _ => return None,
    };
    match *object {
        "route" | "r" | "ro" => {
            let prefix = rest.first().and_then(|text| {
                text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
            });
            Some(Effect::Route { prefix, rest: rest.join(" "), removed })
        }
        "rule" | "ru" => Some(Effect::Rule { rest: rest.join(" "), removed }),
        _ => None,
    }
}

fn wg(arguments: &[&str]) -> Option<Effect> {
    let path = (arguments.first() == Some(&"set")).then(|| after(arguments, &["private-key"]))??;
    // `wg set %i private-key <(command)` reads what a command prints.
    (!path.starts_with('<')).then(|| Effect::PrivateKeyFile(path.to_owned()))
}
