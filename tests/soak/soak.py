"""make soak: real docker, ctr and skopeo pull by the hundred through one name with two trackers behind it, while
nodes and one of the trackers are killed -9 at random and started again.

    soak.py --node build/release/dray-node --tracker build/release/dray-tracker [--pulls 1000] [--seed 1]

docker and ctr (containerd) are what the goal speaks of: none of their pulls may fail. skopeo gives up at
the first broken answer, whoever sends it, and is told apart. A client that this machine cannot run is
named, and its share goes to the others. What a pull fetched is compared byte by byte, or by the
client's own digests. Every few pulls a new image is pushed, so that layers are cold, and private: they
are read through a tracker with the user's login.

The shared name (--front):
    retrying   a load balancer that repeats a GET whose tracker died before it answered, as HAProxy
               and nginx do when told to (the default)
    tcp        one that does not look inside, as a name with several addresses is: a request that is
               at the tracker when it is killed is lost, and clients do not repeat every one

Exit status: 0 when docker and ctr never failed; 1; 77 when neither runs here.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
sys.dont_write_bytecode = True

from dray_e2e import (  # noqa: E402
    balancer, clients, images, node as nodes, proxy, region, registry, retrying, stage as stages,
    tracker)
from dray_e2e.stage import wait_for  # noqa: E402

SKIPPED = 77
REPO = "team/app"
USER, PASSWORD = "alice", "secret"
PATIENCE_S = 60


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", default=nodes.PROGRAM, help="the program dray-node")
    parser.add_argument("--tracker", default=tracker.PROGRAM, help="the program dray-tracker")
    parser.add_argument("--pulls", type=int, default=1000, help="of docker and ctr together")
    parser.add_argument("--skopeo", type=int, default=100, help="pulls of skopeo beside them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--front", choices=("retrying", "tcp"), default="retrying")
    parser.add_argument("--calm", action="store_true", help="nobody is killed: for comparison")
    parser.add_argument("--minutes", type=float, default=60, help="no new pull after so long")
    parser.add_argument("--bare", action="store_true",
                        help="the programs bind their ports themselves: who connects while one is "
                             "down is refused; else the ports are held for them, as systemd does")
    parser.add_argument("--victims", default="tracker,node", help="who is killed")
    parser.add_argument("--small", action="store_true",
                        help="what `make test` plays: a few pulls, trackers alone are killed")
    parser.add_argument("--logs", default="/tmp/dray-soak-logs", help="where those of a failure go")
    parser.add_argument("--out", help="a JSON file for the figures")
    options = parser.parse_args(argv)
    if options.small:
        options.pulls, options.skopeo, options.minutes, options.victims = 24, 0, 5, "tracker"
    nodes.PROGRAM, tracker.PROGRAM = options.node, options.tracker
    return options


def now():
    return time.strftime("%H:%M:%S", time.gmtime()) + f".{int(time.time() * 1000) % 1000:03}"


class Office:
    """A registry, nodes, two trackers, one name."""

    def __init__(self, stage, options):
        self.stage, self.options = stage, options
        self.nodes = []
        self.centre = registry.Registry(stage, {USER: PASSWORD})
        self.line = proxy.Proxy(stage, self.centre.url)
        kind = {"retrying": retrying.Retrying, "tcp": balancer.Balancer}[options.front]
        self.name = kind(stage)
        key, pub = (os.path.join(stage.path, "ticket" + end) for end in (".key", ".pub"))
        subprocess.run([nodes.PROGRAM, "keygen", "ticket", key, pub], check=True,
                       capture_output=True)
        upstream = {"name": f"127.0.0.1:{self.line.port}", "url": self.line.url}
        self.region = region.Region(self, [upstream], region="office", tracker_key=pub,
                                    log={"level": "info"})
        for i in range(options.nodes):
            node = self.region.add(f"n{i + 1}", start=False)
            if not options.bare:
                node.hold()
            node.start()
        self.region.wait_all()
        self.trackers = [tracker.Tracker(
            stage, self.line.url, start=False, ip=f"127.0.0.{i + 101}", name=f"t{i + 1}",
            public_url=self.name.url, mesh_key=self.region.key_file, ticket_key=key,
            regions=[{"name": "office", "seeds": [n.host for n in self.region.nodes]}],
            log={"level": "info"}) for i in range(2)]
        for t in self.trackers:
            t.config["trackers"] = [o.url for o in self.trackers]
            t.write_config()
            if not options.bare:
                t.hold()
            t.start()
        self.name.servers = [t.host for t in self.trackers]
        for t in self.trackers:
            wait_for(lambda t=t: self.knows(t), PATIENCE_S, "all nodes known")

    def node(self, *args, **more):  # as region.Region wants it
        node = nodes.Node(self.stage, *args, **more)
        self.nodes.append(node)
        return node

    def knows(self, t):
        try:
            found = json.loads(t.admin("GET", "/api/v1/caches").body)["caches"]
        except OSError:
            return False
        return sum(c["fit"] for c in found) == self.options.nodes

    def logs(self):
        return [n for n in [*self.nodes, *self.trackers] if n.process]


class Supply:
    """Images, a new one for every few pulls, so that some layers are cold each time."""

    EACH = 4

    def __init__(self, centre, seed):
        self.centre, self.seed = centre, seed
        self.lock = threading.Lock()
        self.asked = 0
        self.current = None

    def next(self):
        with self.lock:
            if self.asked % self.EACH == 0:
                number = self.asked // self.EACH
                salt = f"soak-{self.seed}-{number}"
                layers = [images.tar_layer([(f"data/{k}", images.random_bytes(size, f"{salt}-{k}"))])
                          for k, size in enumerate((20_000, 600_000, 1_500_000))]
                image = images.build(layers)
                self.centre.push(REPO, f"v{number}", image)
                self.current = (f"v{number}", image)
            self.asked += 1
            return self.current


class Chaos(threading.Thread):
    """Kills a node, or one of the trackers, and starts it again. One tracker is always there, and
    has been for long enough to know the nodes."""

    def __init__(self, office, options):
        super().__init__(daemon=True)
        self.office, self.rng = office, random.Random(options.seed)
        self.kinds = options.victims.split(",")
        self.over = threading.Event()
        self.killed = {"node": 0, "tracker": 0}
        self.problem = None

    def run(self):
        try:
            while not self.over.wait(self.rng.uniform(0.3, 2.0)):
                kind = self.rng.choice(self.kinds)
                self.one(kind, self.rng.choice(self.office.trackers if kind == "tracker" else
                                               self.office.region.nodes))
        except (OSError, RuntimeError, TimeoutError, AssertionError):
            self.problem = traceback.format_exc()

    def one(self, kind, victim):
        victim.process.signal(signal.SIGKILL)
        victim.process.wait()
        self.killed[kind] += 1
        self.over.wait(self.rng.uniform(0.0, 2.0))
        victim.start()
        if kind == "tracker":
            wait_for(lambda: self.office.knows(victim), PATIENCE_S, "nodes known again")
        victim.check_log()

    def end(self):
        self.over.set()
        self.join(3 * PATIENCE_S)


class Puller(threading.Thread):
    """One client, pulling one image after the other."""

    def __init__(self, name, client, turns, supply):
        super().__init__(daemon=True)
        self.name, self.client, self.turns, self.supply = name, client, turns, supply
        self.pulls, self.failures, self.seconds = 0, [], []
        self.problem = None

    def run(self):
        try:
            while self.turns():
                tag, image = self.supply.next()
                began = time.monotonic()
                error = self.client.pull(tag, image)
                self.seconds.append(time.monotonic() - began)
                self.pulls += 1
                if error:
                    self.failures.append((now(), tag, error))
                    print(f"{now()} {self.name} failed: {error[-400:]}",
                          file=sys.stderr, flush=True)
        except Exception:  # pylint: disable=broad-except
            self.problem = traceback.format_exc()


class Ctr:
    def __init__(self, stage, host):
        self.client, self.host = clients.Containerd(stage), host

    def pull(self, tag, image):
        name = f"{self.host}/{REPO}:{tag}"
        done = self.client.ctr("images", "pull", "--plain-http", "--snapshotter", "native", "--user",
                               f"{USER}:{PASSWORD}", name, timeout=300)
        if done.ok:
            self.client.verify(image)
            self.client.forget(name)
        return None if done.ok else done.err.strip() or done.out.strip()


class Docker:
    def __init__(self, stage, host):
        self.client, self.host = clients.Docker(stage, clients.Containerd(stage)), host
        wait_for(lambda: self.client.login(host, USER, PASSWORD).ok, PATIENCE_S, "a login")

    def pull(self, tag, image):
        name = f"{self.host}/{REPO}:{tag}"
        done = self.client.pull(name, timeout=300)
        if done.ok:
            self.client.verify(name, image)
            self.client.forget(name)
        return None if done.ok else done.err.strip() or done.out.strip()


class Skopeo:
    def __init__(self, stage, host):
        self.client, self.host = clients.Skopeo(stage), host

    def pull(self, tag, image):
        done, folder = self.client.copy(f"{self.host}/{REPO}:{tag}", f"{USER}:{PASSWORD}",
                                        timeout=300)
        if done.ok:
            self.client.verify(folder, image)
        return None if done.ok else done.err.strip() or done.out.strip()


class Turns:
    """So many pulls among several clients, until the time is over."""

    def __init__(self, count, end):
        self.left, self.end = count, end
        self.lock = threading.Lock()

    def __call__(self):
        with self.lock:
            if self.left == 0 or time.monotonic() > self.end:
                return False
            self.left -= 1
            return True


def start_clients(stage, host, options):
    """[(name, client)] of those that run here."""
    found = []
    for name, kind in (("docker", Docker), ("ctr", Ctr), ("skopeo", Skopeo)):
        if name == "skopeo" and not options.skopeo:
            continue
        try:
            found.append((name, kind(stage, host)))
        except clients.Unavailable as e:
            print(f"SKIPPED soak {name}: {e}", file=sys.stderr)
    return found


def summary(options, office, chaos, pullers, wall_s):
    rows = {}
    for p in pullers:
        ordered = sorted(p.seconds)
        rows[p.name] = {
            "pulls": p.pulls, "failed": len(p.failures),
            "median_s": round(ordered[len(ordered) // 2], 2) if ordered else None,
            "worst_s": round(ordered[-1], 2) if ordered else None,
            "errors": [f"{at} {tag}: {text[-300:]}" for at, tag, text in p.failures],
        }
    return {
        "clients": rows, "seconds": round(wall_s), "seed": options.seed, "front": options.front,
        "ports": "bare" if options.bare else "held",
        "killed": chaos.killed if chaos else {},
        "repeated_by_the_front": getattr(office.name, "repeated", None),
        "layers_fetched_over_the_line": len(office.line.fetches()),
    }


def table(s):
    print(f"{'client':8} {'pulls':>6} {'failed':>6} {'median s':>9} {'worst s':>8}")
    for name, row in s["clients"].items():
        print(f"{name:8} {row['pulls']:6} {row['failed']:6} {row['median_s'] or 0:9} "
              f"{row['worst_s'] or 0:8}")
    print(f"in {s['seconds']} s; killed -9: {s['killed'] or 'nobody'}; front: {s['front']}"
          f" (repeated {s['repeated_by_the_front']} requests)")


def keep_logs(stage, folder):
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(stage.path):
        if name.endswith(".log"):
            shutil.copy(os.path.join(stage.path, name), folder)
    print(f"logs: {folder}", file=sys.stderr)


def play(stage, options):
    office = Office(stage, options)
    found = start_clients(stage, office.name.host, options)
    if not any(name in ("docker", "ctr") for name, _ in found):
        return SKIPPED
    began = time.monotonic()
    end = began + options.minutes * 60
    counted, beside = Turns(options.pulls, end), Turns(options.skopeo, end)
    supply = Supply(office.centre, options.seed)
    pullers = [Puller(name, client, beside if name == "skopeo" else counted, supply)
               for name, client in found]
    chaos = None if options.calm else Chaos(office, options)
    for thread in [*pullers, *([chaos] if chaos else [])]:
        thread.start()
    for p in pullers:
        p.join()
    if chaos:
        chaos.end()
    s = summary(options, office, chaos, pullers, time.monotonic() - began)
    table(s)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as f:
            json.dump(s, f, indent=2)
    problems = [p.problem for p in [*pullers, *([chaos] if chaos else [])] if p.problem]
    for text in problems:
        print(text, file=sys.stderr)
    failed = sum(row["failed"] for name, row in s["clients"].items() if name != "skopeo")
    if failed or problems:
        keep_logs(stage, options.logs)
    for n in office.logs():
        n.check_log()
    return 1 if failed or problems else 0


def main():
    options = parse(sys.argv[1:])
    if not registry.PROGRAM:
        print("SKIPPED soak: docker-registry is not installed", file=sys.stderr)
        return SKIPPED
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with stages.Stage("dray-soak-") as stage:
        return play(stage, options)


if __name__ == "__main__":
    sys.exit(main())
