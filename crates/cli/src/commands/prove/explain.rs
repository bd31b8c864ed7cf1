//! `wayleave explain`: one pair walked both ways, hop by hop, in sentences. Changes nothing.
//!
//! Addresses of an end that are treated differently are told one after the other, what is lost first, with the line of a
//! file that is to blame.
//!
//! With a policy, each way also names the ports that pass, the rules of the file that let them, and the firewall that
//! refuses the rest. `--port` asks about some ports only, and fails if they don't pass.

use std::net::IpAddr;

use serde_json::{Value, json};
use wayleave_core::check::Sources;
use wayleave_core::file::read_ports;
use wayleave_core::network::Ports;
use wayleave_core::prove::{Proof, Story, Verdict, parties};

use super::outside;
use super::subject::{self, Subject};
use super::word;
use crate::args::ExplainArgs;
use crate::exit::Exit;
use crate::files;
use crate::table::wrapped;

/// Columns that a line of a story takes at most.
pub(super) const COLUMNS: usize = 80;

/// Tells both ways; fails if one of them does not arrive and should.
pub fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    let subject = subject::prove(std::slice::from_ref(&args.file))?;
    let proof = &subject.proof;
    if let Some(exit) = outside(&subject, args) {
        return Ok(exit);
    }
    let (from, to) = (find(proof, &args.from)?, find(proof, &args.to)?);
    let asked = args.port.as_deref().map(ports).transpose()?;
    if args.json {
        println!("{:#}", as_json(&subject, from, to));
    } else {
        for (a, b) in [(from, to), (to, from)] {
            tell(&subject, a, b);
            tell_policy(&subject, (a, b), asked.as_ref());
        }
        eprintln!("{}", summary(proof, from, to));
    }
    let verdicts = [proof.verdict(from, to), proof.verdict(to, from)];
    if let Some(asked) = asked {
        let passes = proof.passes(from, to).contains(&asked);
        return Ok(if passes { Exit::Fine } else { Exit::Degraded });
    }
    let lost = verdicts.iter().any(|verdict| !verdict.arrives() && !verdict.is_good());
    Ok(if lost { Exit::Degraded } else { Exit::Fine })
}

/// Tells of a member and somebody outside; none if that is not what was asked.
fn outside(subject: &Subject, args: &ExplainArgs) -> Option<Exit> {
    let network = subject.network.as_ref()?;
    let ends = [&args.from, &args.to].map(|text| find(&subject.proof, text).ok());
    let (member, text, is_there) = match ends {
        [Some(member), None] => (member, &args.to, true),
        [None, Some(member)] => (member, &args.from, false),
        _ => return None,
    };
    let outside = outside::find(network, text)?;
    let told = outside::tell(subject, network, member, outside)?;
    let name = &subject.proof.hosts.ends[member].name;
    let (from, to) = if is_there { (name.as_str(), text.as_str()) } else { (text.as_str(), name.as_str()) };
    let summary = match told.may() {
        true => format!("{from} and {to} may reach each other over a neighbour"),
        false => format!("{from} and {to} don't reach each other by anything that the file says"),
    };
    if args.json {
        let both = json!({
            "schema": "wayleave.explanation", "version": 1, "network": subject.name, "ways": [],
            "from": from, "to": to, "outside": told.json(), "summary": summary,
        });
        println!("{both:#}");
    } else {
        println!("{name} and {}, outside the network:\n{}", outside.address, told.text());
        eprintln!("{summary}");
    }
    Some(if told.may() { Exit::Fine } else { Exit::Degraded })
}

fn summary(proof: &Proof, from: usize, to: usize) -> String {
    let name = |end: usize| &proof.hosts.ends[end].name;
    let (a, b) = (name(from), name(to));
    match [proof.verdict(from, to), proof.verdict(to, from)] {
        [Verdict::Fine, Verdict::Fine] => format!("{a} and {b} reach each other, both ways over the same hosts"),
        [Verdict::Nothing, _] => format!("{a} and {b} have nothing to send to each other"),
        [Verdict::Denied, Verdict::Denied] => format!("the policy lets neither of {a} and {b} reach the other"),
        [there, Verdict::Denied] if there.arrives() => format!("{a} reaches {b}; the policy denies the other way"),
        [Verdict::Denied, back] if back.arrives() => format!("{b} reaches {a}; the policy denies the other way"),
        [Verdict::Apart, Verdict::Apart] => format!("{a} and {b} are isolated from each other, as the file wants"),
        [there, back] if there.arrives() && back.arrives() => format!("{a} and {b} reach each other"),
        [there, _] if there.arrives() => format!("{a} reaches {b}, but {b} does not reach {a}"),
        [_, back] if back.arrives() => format!("{b} reaches {a}, but {a} does not reach {b}"),
        _ => format!("{a} and {b} don't reach each other"),
    }
}

/// An end by its name (a site's with or without the word, or as in selectors), or by an address of it.
fn find(proof: &Proof, text: &str) -> anyhow::Result<usize> {
    let ends = &proof.hosts.ends;
    let named = |name: &str| ends.iter().position(|end| end.name == name);
    let address: Option<IpAddr> = text.parse().ok();
    let holding = || {
        let all = ends.iter().enumerate().flat_map(|(at, end)| end.prefixes.iter().map(move |prefix| (at, prefix)));
        let holding = all.filter(|(_, prefix)| address.is_some_and(|address| prefix.contains(&address)));
        holding.max_by_key(|(at, prefix)| (prefix.prefix_len(), std::cmp::Reverse(*at))).map(|(at, _)| at)
    };
    let site = |name: &str| named(&format!("site {name}"));
    let found = match text.strip_prefix("site:") {
        Some(name) => site(name),
        None => named(text).or_else(|| site(text)).or_else(holding),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = ends.iter().map(|end| end.name.as_str()).take(20).collect();
        let meant = files::meant(text, ends.iter().map(|end| end.name.as_str()));
        files::usage(format!("{text} is no node, client or site of the network; {meant}there are {}", names.join(", ")))
    })
}

fn tell(subject: &Subject, from: usize, to: usize) {
    let ends = &subject.proof.hosts.ends;
    for story in subject.proof.explain(from, to) {
        println!("{} ({}) to {} ({}):", ends[from].name, story.source, ends[to].name, story.destination);
        for step in &story.steps {
            let lines = wrapped(step, COLUMNS - 4);
            println!("  {}", lines.join("\n    "));
        }
        if let Some((file, line)) = blamed(&story, &subject.sources) {
            println!("  see {file}:{line}");
        }
    }
}

fn blamed<'s>(story: &Story, sources: &'s Sources) -> Option<(&'s str, usize)> {
    let (file, line, _) = sources.position(story.place?)?;
    Some((file, line))
}

fn as_json(subject: &Subject, from: usize, to: usize) -> Value {
    let (proof, ends) = (&subject.proof, &subject.proof.hosts.ends);
    let story = |story: Story| {
        let place = blamed(&story, &subject.sources).map(|(file, line)| json!({ "file": file, "line": line }));
        json!({
            "source": story.source, "destination": story.destination, "arrives": story.arrives,
            "hosts": story.hosts, "steps": story.steps, "place": place,
        })
    };
    let way = |(a, b): (usize, usize)| {
        let stories: Vec<Value> = proof.explain(a, b).into_iter().map(story).collect();
        json!({ "from": ends[a].name, "to": ends[b].name, "verdict": word(proof.verdict(a, b)), "stories": stories })
    };
    json!({
        "schema": "wayleave.explanation",
        "version": 1,
        "network": subject.name,
        "ways": [way((from, to)), way((to, from))],
        "summary": summary(proof, from, to),
    })
}

fn ports(text: &str) -> anyhow::Result<Ports> {
    let usage =
        || files::usage(format!("{text} names no ports; write tcp/443, udp/53, tcp/8000-8100, tcp, udp or icmp"));
    read_ports(text).ok_or_else(usage)
}

/// Which ports pass, by which rules of the file, and who refuses those that were asked about.
fn tell_policy(subject: &Subject, (from, to): (usize, usize), asked: Option<&Ports>) {
    let (proof, Some(network)) = (&subject.proof, &subject.network) else { return };
    let policy = &network.policy;
    if !policy.refuses() {
        return;
    }
    let parties = parties(network);
    let (a, b) = (parties[from], parties[to]);
    let everything = Ports::all();
    let about = asked.unwrap_or(&everything);
    let passes = proof.passes(from, to).and(about);
    println!(
        "  policy: {passes} may be opened{}",
        if asked.is_some() { format!(" of {about}") } else { String::new() }
    );
    for rule in policy.allowed.iter().filter(|rule| rule.from.has(a) && rule.to.has(b)) {
        let ports = rule.ports.and(about);
        let place = rule.place.and_then(|place| subject.sources.position(place));
        let place = place.map_or(String::new(), |(file, line, _)| format!(", {file}:{line}"));
        if !ports.is_empty() {
            println!("  policy: {ports} by rule \"{}\"{place}", rule.label);
        }
    }
    let refused = about.without(&passes);
    if let Some(host) = proof.refuser(from, to, &refused).filter(|_| !refused.is_empty()) {
        println!("  policy: {refused} refused by the firewall of {host}");
    }
}
