"""The newcomer's show: two offices far from their registry, and what Dray makes of it.

A real registry (Debian's docker-registry, with logins) gets a real image made of this machine's own
files. It stands "far away": between it and everybody else runs a proxy that lets --wan MB/s through,
shared by all, and says so. Two offices have two racks each, a dray-node in every one. A dray-tracker
stands where users log in and pull: nobody's client is configured. People of both offices log in and
pull with docker (with skopeo where docker cannot run); the registry lets them, or does not; the layers
come from their own office. Then a rack dies. Each pull begins with nothing and is checked blob by
blob. The bytes are the registry's own account (its access log) and the nodes' (their metrics).
Everything runs on loopback (127.0.0.x) under /tmp and is gone at the end, also after Ctrl-C.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
sys.dont_write_bytecode = True

from dray_e2e import images, proxy, registry, tracker  # noqa: E402
from dray_e2e import node as nodes  # noqa: E402
from dray_e2e.place import Place  # noqa: E402
from dray_e2e.stage import Stage, port_open, wait_for  # noqa: E402

import people  # noqa: E402

MB = 1_000_000
REPOSITORY = "website/ui"
TAG = "3-stable"
# Where layers come from, and how many MB of files each takes: what any Debian has.
LAYERS = [("/usr/lib/x86_64-linux-gnu", 30), ("/usr/lib/gcc", 20), ("/usr/bin", 20),
          ("/usr/share", 15)]
# So that the show is about the same size wherever it runs, one layer more fills up to this.
LEAST = 80 * MB
OFFICES = {"berlin": ["berlin-1", "berlin-2"], "tokyo": ["tokyo-1", "tokyo-2"]}
PASSWORDS = {user: f"{user}s-secret" for user in ("alice", "anna", "bob", "ben")}
# Whose cache is where. A profile names an office, or one rack.
PROFILES = {"alice": "berlin", "bob": "tokyo", "ben": "tokyo"}
PATIENCE_S = 30


def coloured(text, code):
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text


def mb(count):
    return f"{count / MB:.1f} MB"


class Row:
    """One pull: who, how long it took, who served it, and how many bytes came from where."""

    def __init__(self, who, took, served, wan, peers):
        self.who, self.took, self.served, self.wan, self.peers = who, took, served, wan, peers

    def cells(self):
        by = ", ".join(f"{name} {mb(n)}" for name, n in self.served.items() if n > MB / 10)
        return (self.who, f"{self.took:.2f}", by or "the registry", mb(self.wan), mb(self.peers))


class Show:
    """One run: what it started stands in `stage` and ends with it."""

    def __init__(self, stage, options):
        self.stage, self.options = stage, options
        self.registry = self.line = self.people = self.image = self.tracker = None
        self.racks = {}
        self.rows = []

    def step(self, text):
        print(coloured("* ", "36") + text, flush=True)

    # --- the stage ------------------------------------------------------------------------------

    def make_image(self):
        self.step("making an image out of this machine's own files ...")
        started = time.monotonic()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            places = [(path, size * MB) for path, size in LAYERS if os.path.isdir(path)]
            layers = list(pool.map(lambda place: images.machine_layer(*place), places))
        missing = LEAST - sum(len(data) for data, _ in layers)
        if missing > 0:
            layers.append(images.tar_layer([("data/filler", images.random_bytes(missing, "demo"))]))
        self.image = images.build(layers)
        self.step(f"  {len(layers)} layers, {mb(self.image.size())}, "
                  f"in {time.monotonic() - started:.1f} s")

    def start_registry(self):
        self.registry = registry.Registry(self.stage, PASSWORDS)
        self.step(f"docker-registry runs at {self.registry.url}, with logins; "
                  f"pushing {REPOSITORY}:{TAG}")
        self.registry.push(REPOSITORY, TAG, self.image)
        rate = self.options.wan
        self.line = proxy.Proxy(self.stage, self.registry.url,
                                pace=proxy.Pace(rate * MB) if rate else None)
        if rate:
            self.step(f"between it and everyone: a line of {rate:g} MB/s (a proxy that we slow down)")

    def start_offices(self, mesh_key, ticket_pub):
        seeds = {}
        for i, (office, racks) in enumerate(OFFICES.items()):
            for k, name in enumerate(racks):
                node = nodes.Node(
                    self.stage, [{"name": "registry.example.org", "url": self.line.url}],
                    place=Place(f"127.0.0.{11 + 10 * i + k}"), name=name, rack=name, region=office,
                    mesh_key=mesh_key, tracker_key=ticket_pub, peer_plain=True,
                    seeds=seeds.get(office, []), log={"level": "info"})
                seeds.setdefault(office, [node.host])
                self.racks[name] = node
            self.step(f"the office in {office.title()} has racks {' and '.join(racks)}: "
                      "a dray-node each, its store empty, without credentials")
        return seeds

    def start_tracker(self, mesh_key, ticket_key, seeds):
        for _ in range(50):
            self.tracker = tracker.Tracker(
                self.stage, self.line.url, start=False, name="tracker", log={"level": "info"},
                mesh_key=mesh_key, ticket_key=ticket_key, peer_plain=True,
                regions=[{"name": office, "seeds": seeds[office]} for office in OFFICES])
            if not port_open(self.tracker.port + 1):  # the second office's
                break
        self.tracker.start()
        self.step(f"dray-tracker stands before the registry, at {self.tracker.url}: that is what "
                  "users call the registry now")
        wait_for(lambda: sum(m["fit"] for m in self.members()) == len(self.racks), PATIENCE_S,
                 "the tracker to know all racks")
        self.step(f"its page shows all of this, live: {coloured(self.tracker.url + '/ui/', '1')}")

    def members(self):
        doc = self.overview()
        return [dict(zip(doc["columns"], m)) for r in doc["regions"] for m in r["members"]]

    def overview(self):
        return self.tracker.get("/api/v1/overview").json()

    def start(self):
        self.start_registry()
        key, pub = (os.path.join(self.stage.path, "ticket" + end) for end in (".key", ".pub"))
        subprocess.run([nodes.PROGRAM, "keygen", "ticket", key, pub], check=True,
                       capture_output=True)
        mesh_key = self.stage.file("mesh.key", nodes.run("keygen", "mesh")[1])
        self.start_tracker(mesh_key, key, self.start_offices(mesh_key, pub))
        for user, cache in PROFILES.items():
            self.set_cache(user, cache)

    def set_cache(self, user, cache):
        code, _, err = self.tracker.command("users", "set", user, cache)
        if code:
            raise RuntimeError(f"users set {user}: {err}")
        self.step(f"dray-tracker users set {user} {cache}")

    # --- what people do -------------------------------------------------------------------------

    def log_in(self):
        self.people, why = people.find(self.stage)
        if why:
            self.step(f"docker cannot run here ({why}), so they use {self.people.name}")
        host = self.tracker.host
        for user, password in PASSWORDS.items():
            self.people.login(user, host, password).must()
            self.people.login(user, self.line.host, password).must()
        self.step(f"{self.people.name} login {host}: {', '.join(PASSWORDS)} are let in")
        if self.people.login("mallory", host, "a guess").ok:
            raise AssertionError("the registry does not know mallory, and she was let in")
        self.step(f"{self.people.name} login {host}: mallory is not; the registry said so, not Dray")

    def _counts(self):
        """What each has given so far: the registry, peers, and each rack to clients."""
        far = sum(row["bytes"] for row in self.registry.access() if row["method"] == "GET")
        near, peers = {}, 0
        for name, node in self.racks.items():
            if node.process.running():
                metrics = node.metrics()
                near[name] = sum(v for k, v in metrics.items()
                                 if k.startswith("dray_served_bytes_total"))
                peers += metrics.get('dray_fetched_bytes_total{from="peer"}', 0)
        return far, peers, near

    def pull(self, who, user, host=None):
        """One whole pull, checked; measured from all sides."""
        host = host or self.tracker.host
        reference = f"{host}/{REPOSITORY}:{TAG}"
        self.step(f"{self.people.command(reference)}   ({who})")
        before = self._counts()
        started = time.monotonic()
        done = self.people.pull(user, reference)
        took = time.monotonic() - started
        done.must()
        self.people.check(reference, self.image)
        time.sleep(0.3)  # the registry writes its log line after the last byte
        far, peers, near = self._counts()
        row = Row(who, took, {name: near[name] - before[2].get(name, 0) for name in near},
                  far - before[0], peers - before[1])
        self.step(f"  {took:.2f} s, every layer checked against its digest")
        self.rows.append(row)
        return row

    def wait_known(self, holder, among):
        """Until the racks of its office know that `holder` has every layer."""
        for name in among:
            node = self.racks[name]
            wait_for(lambda n=node: all(holder in {h["name"] for h in n.admin(
                "GET", f"/api/v1/blobs/{digest}").json().get("holders", [])}
                for digest in self.image.blobs()), PATIENCE_S, f"{name} to know what {holder} holds")

    def serving(self, row):
        return max(row.served, key=row.served.get)

    def story(self):
        self.log_in()
        self.pull("straight from the registry", "alice", self.line.host)
        first = self.pull("alice in Berlin, the first there", "alice")
        self.pull("alice again", "alice")
        holder = self.serving(first)
        other = next(name for name in OFFICES["berlin"] if name != holder)
        self.set_cache("anna", other)
        self.wait_known(holder, [other])
        self.pull("anna in Berlin, at the other rack", "anna")
        self.pull("bob in Tokyo, the first there", "bob")
        self.pull("ben in Tokyo", "ben")
        self.racks[holder].kill()
        self.step(f"rack {holder} dies (kill -9)")
        self.pull(f"alice again, {holder} is dead", "alice")

    # --- what it came to ------------------------------------------------------------------------

    def table(self):
        heads = ("who pulled", "seconds", "served by", "over the long line", "between racks")
        cells = [row.cells() for row in self.rows]
        widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]

        def line(row):
            left = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2])]
            return "  ".join(left + [c.rjust(w) for c, w in zip(row[3:], widths[3:])])
        print()
        print(coloured(line(heads), "1"))
        for row, cell in zip(self.rows, cells):
            far = row.wan > self.image.size() / 2
            print(line(cell) if far else coloured(line(cell), "32"))
        print()

    def judge(self):
        """A show that shows something else is an error."""
        whole, racks = self.image.size(), self.rows[1:]
        firsts = [row for row in racks if "first" in row.who]
        for row in racks:
            most = whole * 1.05 if row in firsts else whole / 100
            if row.wan > most:
                raise AssertionError(f"{row.who}: {mb(row.wan)} came over the long line")
        for row, office in zip(racks, ("berlin", "berlin", "berlin", "tokyo", "tokyo", "berlin")):
            if self.serving(row) not in OFFICES[office]:
                raise AssertionError(f"{row.who}: served by {self.serving(row)}")

    def sum_up(self):
        racks, whole = self.rows[1:], self.image.size()
        far = sum(row.wan for row in racks)
        print(f"{len(racks)} pulls of {mb(whole)} by people of two offices took {mb(far)} over the long "
              f"line, by the registry's own log: {far / whole:.2f} copies, one for each office.")
        print("Nobody's client was configured: they logged in and pulled with the registry's URL, the "
              "registry let them, and the layers came from their own office.")
        layers = sum(len(data) for data in self.image.blobs().values())

        def told():
            totals = self.overview()["totals"]
            return totals if totals["served"] >= len(racks) * layers else None
        totals = wait_for(told, PATIENCE_S, "the racks' own account")
        if self.people.name == "docker":
            print("docker's seconds include unpacking, which takes as long wherever layers come from.")
        print(f"The tracker's account: {mb(totals['served'])} of layers delivered, {mb(totals['wan'])} "
              f"from the registry, {coloured(mb(totals['saved']) + ' kept off the long line', '32')}.")
        if self.options.wan:
            print(f"The line was held at {self.options.wan:g} MB/s by this program, to stand for a "
                  "far registry; try --wan 0, or what yours is.")

    def stay(self):
        print(f"Everything runs on: look at {self.tracker.url}/ui/, pull "
              f"{self.tracker.host}/{REPOSITORY}:{TAG} as alice (password {PASSWORDS['alice']}). "
              "Ctrl-C ends it.", flush=True)
        signal.pause()

    def run(self):
        self.make_image()
        self.start()
        self.story()
        self.table()
        self.judge()
        self.sum_up()
        if self.options.stay:
            self.stay()
        for node in [self.tracker, *reversed(self.racks.values())]:
            if node.process.running():
                node.stop()


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", default="build/release/dray-node", help="the program dray-node")
    parser.add_argument("--tracker", default="build/release/dray-tracker",
                        help="the program dray-tracker")
    parser.add_argument("--wan", type=float, default=20.0, metavar="MB/s",
                        help="the line to the registry; 0: as fast as it goes (default: 20)")
    parser.add_argument("--stay", action="store_true",
                        help="at the end, leave everything running until Ctrl-C")
    return parser.parse_args(argv)


def interrupt(*_):
    raise KeyboardInterrupt


def main(argv):
    options = parse(argv)
    nodes.PROGRAM = os.path.abspath(options.node)
    tracker.PROGRAM = os.path.abspath(options.tracker)
    for program in (nodes.PROGRAM, tracker.PROGRAM):
        if not os.access(program, os.X_OK):
            return f"demo: {program} is not there; build it first: make build"
    for program, package in (("docker-registry", "docker-registry"), ("skopeo", "skopeo"),
                             ("htpasswd", "apache2-utils")):
        if not shutil.which(program):
            return f"demo: {program} is not installed: apt-get install {package}"
    signal.signal(signal.SIGTERM, interrupt)
    started = time.monotonic()
    try:
        with Stage("dray-demo-") as stage:
            Show(stage, options).run()
    except KeyboardInterrupt:
        print("\ndemo: interrupted; all processes and files of it are gone", file=sys.stderr)
        return 130
    except (AssertionError, RuntimeError, TimeoutError) as wrong:
        return f"demo: {wrong}"
    print(f"Done in {time.monotonic() - started:.0f} s; everything it started and wrote is gone.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
