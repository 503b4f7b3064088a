"""The newcomer's show: a real image, pulled twice through one node, and where the bytes came from.

A real registry (Debian's docker-registry) gets a real image made of this machine's own files. It
stands "far away": between it and everybody else runs a proxy that lets --wan MB/s through, shared by
all, and says so. skopeo pulls the image straight from there, then twice through a dray-node, each
time into an empty folder. The bytes are the registry's own account (its access log) and the node's
(its metrics). Everything runs on loopback under /tmp and is gone at the end, also after Ctrl-C.
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
from dray_e2e.stage import Stage  # noqa: E402

MB = 1_000_000
REPOSITORY = "website/ui"
TAG = "3-stable"
# Where layers come from, and how many MB of files each takes: what any Debian has.
LAYERS = [("/usr/lib/x86_64-linux-gnu", 60), ("/usr/lib/gcc", 60), ("/usr/bin", 50),
          ("/usr/share", 40), ("/usr/lib", 50), ("/usr/include", 20)]
# So that the show is about the same size wherever it runs, one layer more fills up to this.
LEAST = 100 * MB


def coloured(text, code):
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() else text


def mb(count):
    return f"{count / MB:.1f} MB"


class Show:
    """One run: what it started stands in `stage` and ends with it."""

    def __init__(self, stage, options):
        self.stage, self.options = stage, options
        self.registry = self.line = self.node = self.skopeo = self.image = None
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
        self.node = nodes.Node(self.stage, [{"name": "registry.example.org", "url": self.line.url}],
                               log={"level": "info"})
        self.step(f"dray-node runs at {self.node.url}, its store is empty")
        self.skopeo = clients.Skopeo(self.stage)

    def _registry_bytes(self):
        return sum(row["bytes"] for row in self.registry.access() if row["method"] == "GET")

    def _store_bytes(self):
        return sum(value for name, value in self.node.metrics().items()
                   if name.startswith("dray_served_bytes_total") and '"store"' in name)

    def pull(self, name, host):
        """One pull into an empty folder, checked blob by blob; measured from both sides."""
        self.step(f"skopeo copy docker://{host}/{REPOSITORY}:{TAG}   ({name})")
        registry_before, store_before = self._registry_bytes(), self._store_bytes()
        started = time.monotonic()
        done, folder = self.skopeo.copy(f"{host}/{REPOSITORY}:{TAG}")
        took = time.monotonic() - started
        done.must()
        self.skopeo.verify(folder, self.image)
        shutil.rmtree(folder)
        time.sleep(0.2)  # the registry writes its log line after the last byte
        row = (name, took, self._registry_bytes() - registry_before,
               self._store_bytes() - store_before)
        self.step(f"  {took:.2f} s, every layer checked against its digest")
        self.rows.append(row)

    def table(self):
        heads = ("pull", "seconds", "from the registry", "from the node's store")
        cells = [(name, f"{took:.2f}", mb(far), mb(near)) for name, took, far, near in self.rows]
        widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(4)]

        def line(row):
            return "  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in
                                                          zip(row[1:], widths[1:])])
        print()
        print(coloured(line(heads), "1"))
        for row, cell in zip(self.rows, cells):
            print(coloured(line(cell), "32") if row is self.rows[-1] else line(cell))
        print()
        direct, second = self.rows[0], self.rows[-1]
        print(f"The second pull took {mb(second[2])} over the long line instead of "
              f"{mb(direct[2])}, and {second[1]:.2f} s instead of {direct[1]:.2f} s.")
        if self.options.wan:
            print(f"The line was held at {self.options.wan:g} MB/s by this program, to stand for a "
                  "far registry; try --wan 0, or what yours is.")

    def run(self):
        self.make_image()
        self.start()
        self.pull("straight from the registry", self.line.host)
        self.pull("through the node, first", self.node.host)
        self.pull("through the node, second", self.node.host)
        self.node.stop()
        self.table()


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
