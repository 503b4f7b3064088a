"""Clients that pull over and over while something happens to the region.

Each is one user at one desk with one real client, set up as docs and README tell: the node of the
own rack first, then a neighbour's (and for ctr and skopeo that is a list of mirrors, tried in order).
Every pull starts from nothing, and what came is checked against its digests. A pull that fails is
kept with what the client said.
"""

import subprocess
import threading
import time

from dray_e2e import clients
from dray_e2e.stage import wait_for

from .lab import REGISTRY, REPOSITORY


class Puller(threading.Thread):
    """`images` are pulled in turn until stop()."""

    client = ""

    def __init__(self, desk, racks, images):
        super().__init__(daemon=True)
        self.desk, self.racks, self.images = desk, racks, images
        self.seconds, self.failures = [], []
        self._stop_now = threading.Event()
        self.prepare()

    def prepare(self):
        """Starts the client; in the test's own thread, with which its processes end."""

    def once(self, image):
        """Pulls, checks and forgets; raises when anything was wrong."""
        raise NotImplementedError

    def run(self):
        turn = 0
        while not self._stop_now.is_set():
            image = self.images[turn % len(self.images)]
            turn += 1
            started = time.monotonic()
            try:
                self.once(image)
                self.seconds.append(time.monotonic() - started)
            except Exception as wrong:  # whatever it was: it is one pull that failed
                self.failures.append(f"{self.client} at {self.desk.name}, {image.tag}: {wrong}")

    def stop(self, timeout=120):
        self._stop_now.set()
        self.join(timeout)
        if self.is_alive():
            raise TimeoutError(f"{self.client} at {self.desk.name}: still pulling after {timeout} s")
        return self

    def __repr__(self):
        return f"{self.client} at {self.desk.name}"


class Skopeo(Puller):
    client = "skopeo"

    def prepare(self):
        self.skopeo = self.desk.skopeo

    def once(self, image):
        mirrors = [rack.host for rack in self.racks]
        # Blobs come from the mirror that gave the manifest; skopeo's way over its restart is to retry.
        done, folder = self.skopeo.copy(f"{REGISTRY}/{REPOSITORY}:{image.tag}", mirror=mirrors,
                                        retries=3)
        done.must()
        self.skopeo.verify(folder, image)
        subprocess.run(["rm", "-rf", folder], check=True)


class Ctr(Puller):
    client = "ctr"

    def prepare(self):
        self.containerd = self.desk.containerd
        self.hosts = self.containerd.hosts(REGISTRY, [rack.url for rack in self.racks])

    def once(self, image):
        name = f"{REGISTRY}/{REPOSITORY}:{image.tag}"
        self.containerd.pull(name, self.hosts).must()
        self.containerd.verify(image)
        self.containerd.forget(name)


class Docker(Puller):
    client = "docker"

    def prepare(self):
        self.docker = clients.Docker(self.desk.lab.stage, self.desk.containerd,
                                     mirror=[rack.url for rack in self.racks],
                                     place=self.desk.machine)

    def once(self, image):
        name = f"{REPOSITORY}:{image.tag}"  # docker.io's mirrors are the racks
        self.docker.pull(name).must()
        self.docker.verify(name, image)
        self.docker.forget(name)


class Load:
    """Several pullers at once. Those whose client does not run here are named in `missing`."""

    def __init__(self, story):
        self.story, self.pullers, self.missing = story, [], []

    def add(self, kind, desk, racks, images):
        try:
            self.pullers.append(kind(desk, racks, images))
        except clients.Unavailable as why:
            self.missing.append(kind.client)
            self.story.tell(f"without {kind.client}: {why}")
        return self

    def start(self):
        for puller in self.pullers:
            puller.start()
        self.story.tell("pulling: " + ", ".join(map(repr, self.pullers)))
        return self

    def stop(self):
        for puller in self.pullers:
            puller.stop()
        self.story.tell(f"pulling ended: {self.pulls()} pulls, {len(self.failures())} failed")
        return self

    def wait_for_one_more_each(self, within=90):
        """Every client has finished a pull that it began after this call."""
        marks = {p: len(p.seconds) + len(p.failures) + 2 for p in self.pullers}
        wait_for(lambda: all(len(p.seconds) + len(p.failures) >= n for p, n in marks.items()),
                 within, "one more pull of each client")

    def pulls(self, client=None):
        return sum(len(p.seconds) + len(p.failures) for p in self.pullers
                   if client in (None, p.client))

    def clients(self):
        return sorted({p.client for p in self.pullers})

    def slowest(self):
        return max((max(p.seconds, default=0.0) for p in self.pullers), default=0.0)

    def failures(self):
        return [text for p in self.pullers for text in p.failures]
