"""The newcomer's show: three racks pull a real image, and where its bytes came from.

A real registry (Debian's docker-registry) gets a real image made of this machine's own files. It
stands "far away": between it and everybody else runs a proxy that lets --wan MB/s through, shared by
all, and says so. Three dray-nodes, one for each rack, form a region. skopeo pulls the image straight
from the registry; then twice through the node of rack A; then through those of racks B and C, which
find it next door. Each pull goes into an empty folder and is checked blob by blob. The bytes are the
registry's own account (its access log) and the nodes' (their metrics). Everything runs on loopback
(127.0.0.x) under /tmp and is gone at the end, also after Ctrl-C.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
sys.dont_write_bytecode = True

from dray_e2e import clients, images, proxy, registry  # noqa: E402
from dray_e2e import node as nodes  # noqa: E402
from dray_e2e.place import Place  # noqa: E402
from dray_e2e.stage import Stage, wait_for  # noqa: E402

MB = 1_000_000
REPOSITORY = "website/ui"
TAG = "3-stable"
# Where layers come from, and how many MB of files each takes: what any Debian has.
LAYERS = [("/usr/lib/x86_64-linux-gnu", 60), ("/usr/lib/gcc", 60), ("/usr/bin", 50),
          ("/usr/share", 40), ("/usr/lib", 50), ("/usr/include", 20)]
# So that the show is about the same size wherever it runs, one layer more fills up to this.
LEAST = 100 * MB
RACKS = ("A", "B", "C")


def coloured(text, code):
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text


def mb(count):
    return f"{count / MB:.1f} MB"


class Row:
    """One pull: how long it took, and how many bytes came from where."""

    def __init__(self, name, took, registry, peers, store):
        self.name, self.took = name, took
        self.registry, self.peers, self.store = registry, peers, store

    def cells(self):
        return (self.name, f"{self.took:.2f}", mb(self.registry), mb(self.peers), mb(self.store))


class Show:
    """One run: what it started stands in `stage` and ends with it."""

    def __init__(self, stage, options):
        self.stage, self.options = stage, options
        self.registry = self.line = self.skopeo = self.image = None
        self.racks = {}
        self.rows = []

    def step(self, text):
        print(coloured("* ", "36") + text, flush=True)

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

    def start(self):
        self.registry = registry.Registry(self.stage)
        self.step(f"docker-registry runs at {self.registry.url}; pushing {REPOSITORY}:{TAG}")
        self.registry.push(REPOSITORY, TAG, self.image)
        rate = self.options.wan
        pace = proxy.Pace(rate * MB) if rate else None
        self.line = proxy.Proxy(self.stage, self.registry.url, pace=pace)
        if rate:
            self.step(f"between it and everyone: a line of {rate:g} MB/s (a proxy that we slow down)")
        self.skopeo = clients.Skopeo(self.stage)
        self.start_racks()

    def start_racks(self):
        key = self.stage.file("mesh.key", nodes.run("keygen", "mesh")[1])
        places = {name: Place(f"127.0.0.{11 + i}") for i, name in enumerate(RACKS)}
        for name, place in places.items():
            seeds = [self.racks[RACKS[0]].host] if self.racks else []
            self.racks[name] = nodes.Node(
                self.stage, [{"name": "registry.example.org", "url": self.line.url}], place=place,
                name=f"rack-{name}", rack=name, region="demo", mesh_key=key, peer_plain=True,
                seeds=seeds, log={"level": "info"}, start=False)
        for name, node in self.racks.items():
            node.start()
            self.step(f"dray-node of rack {name} runs at {node.url}, its store is empty")
        wait_for(lambda: all(len(self._alive(node)) == len(self.racks)
                             for node in self.racks.values()), 20, "the racks to know each other")
        self.step("the three know each other: rack A was named to B and C as a seed")

    @staticmethod
    def _alive(node):
        members = node.admin("GET", "/api/v1/members").json()["members"]
        return {m["name"] for m in members if m["state"] == "alive"}

    def _know(self, holder):
        """Do all other racks know that `holder` has every layer?"""
        return all(f"rack-{holder}" in {h["name"] for h in node.admin(
                       "GET", f"/api/v1/blobs/{digest}").json().get("holders", [])}
                   for name, node in self.racks.items() if name != holder
                   for digest in self.image.blobs())

    def _registry_bytes(self):
        return sum(row["bytes"] for row in self.registry.access() if row["method"] == "GET")

    def _counts(self, node):
        """What the far and the near have given so far: registry, peers, the node's own store."""
        metrics = node.metrics() if node else {}
        return (self._registry_bytes(),
                metrics.get('dray_fetched_bytes_total{from="peer"}', 0),
                metrics.get('dray_served_bytes_total{source="store"}', 0))

    def pull(self, name, rack=None):
        """One pull into an empty folder, checked blob by blob; measured from both sides."""
        node = self.racks.get(rack)
        host = node.host if node else self.line.host
        self.step(f"skopeo copy docker://{host}/{REPOSITORY}:{TAG}   ({name})")
        before = self._counts(node)
        started = time.monotonic()
        done, folder = self.skopeo.copy(f"{host}/{REPOSITORY}:{TAG}")
        took = time.monotonic() - started
        done.must()
        self.skopeo.verify(folder, self.image)
        shutil.rmtree(folder)
        time.sleep(0.2)  # the registry writes its log line after the last byte
        row = Row(name, took, *(b - a for a, b in zip(before, self._counts(node))))
        self.step(f"  {took:.2f} s, every layer checked against its digest")
        self.rows.append(row)
        return row

    def table(self):
        heads = ("pull", "seconds", "from the registry", "from peers", "from its own store")
        cells = [row.cells() for row in self.rows]
        widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]

        def line(row):
            return "  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in
                                                          zip(row[1:], widths[1:])])
        print()
        print(coloured(line(heads), "1"))
        for row, cell in zip(self.rows, cells):
            far = row.registry > self.image.size() / 2
            print(line(cell) if far else coloured(line(cell), "32"))
        print()

    def sum_up(self):
        direct, racks = self.rows[0], self.rows[1:]
        far, whole = sum(row.registry for row in racks), self.image.size()
        print(f"Four pulls in three racks took {mb(far)} over the long line: {far / whole:.2f} copies "
              f"of an image of {mb(whole)}, by the registry's own log.")
        print(f"The second pull in rack A took {racks[1].took:.2f} s instead of {direct.took:.2f} s; "
              f"racks B and C, which had never seen it, {racks[2].took:.2f} s and {racks[3].took:.2f} s.")
        if self.options.wan:
            print(f"The line was held at {self.options.wan:g} MB/s by this program, to stand for a "
                  "far registry; try --wan 0, or what yours is.")
        for row in racks[1:]:
            if row.registry > whole / 100:
                raise AssertionError(f"{row.name}: {mb(row.registry)} came from the registry")

    def run(self):
        self.make_image()
        self.start()
        self.pull("straight from the registry")
        self.pull("rack A, first", "A")
        self.pull("rack A, second", "A")
        for rack in RACKS[1:]:
            wait_for(lambda: self._know("A"), 20, "word of what rack A holds")
            self.pull(f"rack {rack}, first", rack)
        for node in reversed(self.racks.values()):
            node.stop()
        self.table()
        self.sum_up()


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", default="build/release/dray-node", help="the program dray-node")
    parser.add_argument("--wan", type=float, default=40.0, metavar="MB/s",
                        help="the line to the registry; 0: as fast as it goes (default: 40)")
    return parser.parse_args(argv)


def interrupt(*_):
    raise KeyboardInterrupt


def main(argv):
    options = parse(argv)
    nodes.PROGRAM = os.path.abspath(options.node)
    if not os.access(nodes.PROGRAM, os.X_OK):
        return f"demo: {options.node} is not there; build it first: make build"
    for program, package in (("docker-registry", "docker-registry"), ("skopeo", "skopeo")):
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
