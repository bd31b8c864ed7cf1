"""Entry servers, hubs and clients of one network, each node with its real agent and the engine in a namespace of its own: what
bench/claims and bench/drain measure.

All hang on one bridge, with no delay on the wire. The clients are played by one process (the example `load`) in the namespace `crowd`,
each a WireGuard of its own over a socket of its own."""
import json, os, signal, subprocess, time

SHARED = "198.51.100.1"


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


def ip(*words):
    return run("ip", *words)


def until(what, seconds, is_true):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.5)


class Fleet:
    """The nodes, once `build` and `network` have made them, and their agents, once they are started."""

    def __init__(self, wayleave, load, work, prefix, servers, hubs):
        self.wayleave, self.load, self.work = wayleave, load, work
        self.names = [f"s{at:02}" for at in range(servers)]
        self.hubs = [f"r{at}" for at in range(1, hubs + 1)]
        self.nodes = self.hubs + self.names
        self.outside = {name: f"192.0.2.{at}" for at, name in enumerate(self.nodes, 1)}
        self.space = {name: f"{prefix}-{name}" for name in self.nodes + ["wire", "crowd"]}
        self.agents = {}

    def build(self):
        for name in self.space.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        wire = self.space["wire"]
        ip("-n", wire, "link", "add", "wire", "type", "bridge")
        ip("-n", wire, "link", "set", "wire", "up")
        for name in self.nodes + ["crowd"]:
            space = self.space[name]
            ip("link", "add", "out", "netns", space, "type", "veth", "peer", "name", f"to-{name}", "netns", wire)
            ip("-n", wire, "link", "set", f"to-{name}", "master", "wire", "up")
            ip("-n", space, "addr", "add", self.outside.get(name, "192.0.2.250") + "/24", "dev", "out")
            ip("-n", space, "link", "set", "out", "up")
            if name != "crowd":
                ip("-n", space, "route", "add", "10.66.0.0/16", "via", "192.0.2.250")
        ip("-n", self.space["crowd"], "route", "add", "local", "10.66.0.0/16", "dev", "lo")

    def inside(self, name):
        return f"10.70.250.{self.nodes.index(name) + 1}"

    def network(self, clients, head=(), tail=()):
        """Writes network.toml, with further lines before the nodes and at the end, and makes the keys."""
        lines = ['[network]', 'name = "fleet"', 'prefixes = ["10.70.0.0/16"]', 'platform = "agent"',
                 '[entry]', f'endpoint = "{SHARED}"', *head]
        for name in self.nodes:
            role = "hub = true" if name in self.hubs else "entry = true"
            lines += [f'[nodes.{name}]', f'endpoint = "{self.outside[name]}"', f'address = "{self.inside(name)}"', role]
        at = 0
        for line in run(self.load, "keys", "--count", str(clients)).splitlines():
            word, _, value = line.partition(" = ")
            if word == "PublicKey":
                lines += [f'[clients.c{at:05}]', f'public_key = "{value}"']
                at += 1
            elif word == "AllowedIPs":
                lines.append(f'address = "{value.split("/")[0]}"')
        with open(f"{self.work}/network.toml", "w") as file:
            file.write("\n".join([*lines, *tail]) + "\n")
        run(self.wayleave, "key", "make", f"{self.work}/network.toml", cwd=self.work)

    def environment(self, name):
        return {**os.environ, "WAYLEAVE_RUNTIME_DIR": f"{self.work}/{name}/run"}

    def start(self, name):
        work = self.work
        os.makedirs(f"{work}/{name}/wg", exist_ok=True)
        log = open(f"{work}/{name}/log", "a")
        words = [self.wayleave, "agent", "--network", f"{work}/network.toml", "--node", name, "--device", "engine", "--http", "off",
                 "--private-key", f"{work}/keys/{name}.key", "--entry-key", f"{work}/keys/entry.key"]
        apart = 'mkdir -p /run/wireguard; mount --bind "$1" /run/wireguard; shift; exec "$@"'
        self.agents[name] = subprocess.Popen(
            ["ip", "netns", "exec", self.space[name], "unshare", "-m", "sh", "-c", apart, "sh", f"{work}/{name}/wg", *words],
            stdout=log, stderr=log, env=self.environment(name))

    def status(self, name):
        said = subprocess.run([self.wayleave, "status", "--json"], capture_output=True, text=True, env=self.environment(name))
        return json.loads(said.stdout) if said.stdout.startswith("{") else None

    def is_ready(self, name):
        said = self.status(name)
        return bool(said) and (not said.get("ready") or said["ready"]["is_open"])

    def start_all(self):
        for name in self.nodes:
            self.start(name)
        until("all servers are ready", 120, lambda: all(self.is_ready(name) for name in self.names))

    def crowd(self, command, *words):
        """The clients: what they say, and a line to them, go through pipes."""
        key = run(self.wayleave, "key", "public", input=open(f"{self.work}/keys/entry.key").read()).strip()
        words = ["ip", "netns", "exec", self.space["crowd"], self.load, command, "--key", key, *map(str, words)]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def clean(self):
        """Ends all that it started; with KEEP in the environment, what it wrote is kept there."""
        if os.environ.get("KEEP"):
            subprocess.run(["cp", "-r", self.work, os.environ["KEEP"]])
        for agent in self.agents.values():
            agent.kill()
            agent.wait()
        for name in self.space.values():
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
