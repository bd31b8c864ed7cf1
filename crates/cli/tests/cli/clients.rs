//! Clients come and go: one command each, all of it or nothing, and every other byte of the network file stays.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::desk::{Desk, WAYLEAVE, can_run};

/// A network with a policy, comments, and keys for everybody.
const NETWORK: &str = r#"# The office's network.
[network]
name = "office"
prefixes = ["10.9.0.0/24"]
client_prefixes = ["10.9.0.128/25"]

[nodes.server]   # in the cellar
endpoint = "192.0.2.1"
entry = true

# Who travels.

[clients.laptop]
tags = [
  "staff",   # [not a table]
]

# --- Rules.
[[assert]]
reach = [["laptop"], ["server"]]
"#;

fn desk() -> Desk {
    let desk = Desk::with("network.toml", NETWORK);
    desk.wayleave("key make").expect(0);
    desk.wayleave("plan").expect(0);
    desk
}

/// What must not change when nothing does.
fn state(desk: &Desk) -> [String; 3] {
    ["network.toml", "network.lock", "network.plan"].map(|name| desk.read(name))
}

fn value<'t>(text: &'t str, key: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).trim_start_matches([' ', '='])
}

fn public_of(desk: &Desk, config: &str) -> String {
    desk.wayleave_fed("key public", value(config, "PrivateKey")).expect(0).out.trim().to_owned()
}

#[test]
fn a_client_is_added_by_one_command_and_removed_without_a_trace() {
    let desk = desk();
    let ran = desk.wayleave("client add anna --tag staff --expires 2027-01-31").expect(0);
    let public = public_of(&desk, &ran.out);
    let entry = format!(
        "\n[clients.anna]\npublic_key = \"{public}\"\ntags = [\"staff\"]\nexpires = 2027-01-31\n\n# --- Rules.\n"
    );
    assert_eq!(desk.read("network.toml"), NETWORK.replace("\n# --- Rules.\n", &entry));
    assert_eq!(value(&ran.out, "Address"), "10.9.0.130/32");
    assert_eq!(value(&ran.out, "Endpoint"), "192.0.2.1:51820");
    assert!(ran.err.contains("anna is a client of office: 10.9.0.130, by way of server"), "{ran}");
    let private = value(&ran.out, "PrivateKey");
    for name in desk.entries() {
        if desk.path(&name).is_file() {
            assert!(!desk.read(&name).contains(private), "{name} holds the private key");
        }
    }
    let server = desk.wayleave("render network.toml server").expect(0).out;
    assert!(server.contains(&public) && server.contains("AllowedIPs = 10.9.0.130/32"), "{server}");
    desk.wayleave("prove").expect(0);

    let ran = desk.wayleave("client remove anna").expect(0);
    assert!(ran.err.contains(&public) && ran.err.contains("server is told"), "{ran}");
    assert_eq!(desk.read("network.toml"), NETWORK);
    assert!(!desk.wayleave("render network.toml server").expect(0).out.contains(&public));
    // Nobody inherits the address at once; who comes again under the old name has it, with a new key.
    let next = desk.wayleave("client add bob").expect(0).out;
    assert_eq!(value(&next, "Address"), "10.9.0.131/32");
    let again = desk.wayleave("client add anna").expect(0).out;
    assert_eq!(value(&again, "Address"), "10.9.0.130/32");
    assert_ne!(public_of(&desk, &again), public);
}

#[test]
fn a_key_that_the_ledger_knows_goes_with_its_client() {
    let desk = desk();
    let public = desk.wayleave("key public keys/laptop.key").expect(0).out;
    desk.write("network.toml", NETWORK.replace("[[assert]]\nreach = [[\"laptop\"], [\"server\"]]\n", ""));
    assert!(desk.read("network.lock").contains(public.trim()));
    desk.wayleave("client remove laptop").expect(0);
    assert!(!desk.read("network.lock").contains(public.trim()));
    assert!(desk.read("network.toml").ends_with("entry = true\n\n# Who travels.\n\n# --- Rules.\n"));
}

#[test]
fn bad_input_leaves_every_file_as_it_was() {
    let desk = desk();
    desk.write("there", "mine");
    let before = state(&desk);
    let refused = |arguments: &str, code: i32, why: &str| {
        let ran = desk.wayleave(&format!("client {arguments}")).expect(code);
        assert!(ran.err.contains(why) && !ran.out.contains("PrivateKey"), "{ran}");
        assert!(state(&desk) == before, "{ran}");
    };
    refused("add Anna", 64, "anna would do");
    refused("add ../anna", 64, "can't be a client's name");
    refused("add laptop", 1, "laptop is a client of office already");
    refused("add server", 1, "server is a node of office already");
    refused("add anna --via nobody", 1, "nobody");
    refused("add anna --via laptop", 1, "laptop");
    refused("add anna --tag Staff", 1, "Staff");
    refused("add anna --expires 2027-02-30", 64, "2027-02-30");
    refused("add anna --public-key AAAA", 64, "AAAA");
    refused("add anna -o there", 1, "never overwritten");
    refused("add anna --png there", 1, "never overwritten");
    refused("add anna -o new --png there", 1, "never overwritten");
    refused("add anna -o no/such/folder", 1, "no/such/folder");
    refused("add anna --network other.toml", 1, "other.toml");
    refused("add", 64, "required");
    refused("remove anna", 64, "anna is no node or client of office");
    refused("remove server", 64, "server is a node");
    // The rule is shown where it is in the file as it stands.
    refused("remove laptop", 1, "network.toml:20:");
    assert_eq!(desk.read("there"), "mine");
    assert!(!desk.path("new").exists());
    assert_eq!(desk.entries(), ["keys", "network.lock", "network.plan", "network.toml", "there"]);
    // Nobody can read what goes to a full disk.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{WAYLEAVE} client add anna >/dev/full")]);
    let ran = desk.run(&mut command, "").expect(1);
    assert!(ran.err.contains("printing the configuration") && state(&desk) == before, "{ran}");
}

#[test]
fn no_key_is_shown_that_could_not_be_kept() {
    let desk = desk();
    let before = ["network.toml", "network.lock"].map(|name| desk.read(name));
    std::fs::remove_file(desk.path("network.plan")).unwrap();
    std::fs::create_dir(desk.path("network.plan")).unwrap();
    for more in ["", " -o new", " --qr"] {
        let ran = desk.wayleave(&format!("client add anna{more}")).expect(1);
        assert!(ran.out.is_empty() && ran.err.contains("network.plan is a directory"), "{ran}");
        assert!(ran.err.contains("nothing was changed") && !ran.err.contains("void"), "{ran}");
    }
    assert_eq!(["network.toml", "network.lock"].map(|name| desk.read(name)), before);
    assert_eq!(desk.entries(), ["keys", "network.lock", "network.plan", "network.toml"]);
}

#[test]
fn a_network_file_that_is_no_toml_is_left_to_its_owner() {
    let yaml = "network:\n  name: n\n  prefixes: [10.9.0.0/24]\nnodes:\n  a: {endpoint: 192.0.2.1, hub: true}\nclients:\n  c: {}\n";
    let desk = Desk::with("n.yaml", yaml);
    desk.wayleave("key make n.yaml").expect(0);
    let ran = desk.wayleave("client add anna --network n.yaml").expect(1);
    assert!(ran.err.contains("is not TOML") && ran.err.contains("[clients.anna]"), "{ran}");
    let ran = desk.wayleave("client remove c --network n.yaml").expect(1);
    assert!(ran.err.contains("n.yaml:7 is not TOML"), "{ran}");
    assert_eq!(desk.read("n.yaml"), yaml);
}

#[test]
fn clients_are_kept_where_the_others_are_and_files_keep_their_modes() {
    let root = "include = [\"people.toml\"]\n[network]\nname = \"n\"\nprefixes = [\"10.9.0.0/24\"]\n[nodes.a]\nendpoint = \"192.0.2.1\"\nhub = true\n";
    let desk = Desk::with("network.toml", root);
    desk.write("real.toml", "[clients]\n# A phone.\nphone = { }\ntablet = {} # old\n");
    std::os::unix::fs::symlink("real.toml", desk.path("people.toml")).unwrap();
    std::fs::set_permissions(desk.path("real.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    desk.wayleave("key make").expect(0);
    let public = public_of(&desk, &desk.wayleave("client add anna").expect(0).out);
    let expected = format!(
        "[clients]\n# A phone.\nphone = {{ }}\ntablet = {{}} # old\n\n[clients.anna]\npublic_key = \"{public}\"\n"
    );
    assert_eq!((desk.read("network.toml"), desk.read("real.toml")), (root.to_owned(), expected));
    assert_eq!(desk.mode("real.toml"), 0o640);
    assert!(desk.path("people.toml").is_symlink());
    desk.wayleave("client remove tablet").expect(0);
    desk.wayleave("client remove anna").expect(0);
    assert_eq!(desk.read("real.toml"), "[clients]\n# A phone.\nphone = { }\n");
}

#[test]
fn who_keeps_his_key_to_himself_gets_a_file_without_one() {
    let desk = desk();
    let public = desk.wayleave("key generate -o own.key").expect(0).out;
    let ran = desk.wayleave(&format!("client add anna --public-key {public}")).expect(0);
    assert!(ran.out.contains("PostUp = wg set %i private-key") && !ran.out.contains("PrivateKey"), "{ran}");
    assert!(desk.read("network.toml").contains(public.trim()));
    // The same key for two is refused as in any network file.
    let before = state(&desk);
    desk.wayleave(&format!("client add bob --public-key {public}")).expect(1);
    assert_eq!(state(&desk), before);
}

#[test]
fn many_at_once_wait_for_each_other() {
    let desk = desk();
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let add = |name: &String| {
        let mut command = Command::new(WAYLEAVE);
        command.args(["client", "add", name, "-o", &format!("{name}.conf")]).current_dir(&desk.directory);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let running: Vec<_> = names.iter().map(add).collect();
    assert!(running.into_iter().all(|mut child| child.wait().unwrap().success()));
    let mut addresses: Vec<String> =
        names.iter().map(|name| value(&desk.read(&format!("{name}.conf")), "Address").to_owned()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), names.len());
    let text = desk.read("network.toml");
    assert!(names.iter().all(|name| text.contains(&format!("[clients.{name}]"))), "{text}");
    assert_eq!(desk.mode("c0.conf"), 0o600);
}

#[test]
fn a_camera_reads_what_would_have_been_printed() {
    if !can_run("a_camera_reads_what_would_have_been_printed", false, &["zbarimg", "wg-quick"]) {
        return;
    }
    let desk = desk();
    let ran = desk.wayleave("client add anna --png anna.png --qr -o anna.conf").expect(0);
    assert!(ran.out.contains('█') && !ran.out.contains("PrivateKey"), "{ran}");
    assert_eq!((desk.mode("anna.png"), desk.mode("anna.conf")), (0o600, 0o600));
    let seen = desk.program("zbarimg --quiet --raw -Sdisable -Sqrcode.enable anna.png", "").expect(0).out;
    let bare: String =
        desk.read("anna.conf").lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    assert_eq!(seen.trim(), bare.trim());
    let path = desk.path("anna.conf");
    desk.program(&format!("wg-quick strip {}", path.display()), "").expect(0);
}
