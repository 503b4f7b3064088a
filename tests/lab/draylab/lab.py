"""A region in the lab: racks in offices, a registry behind a long line, desks with real clients.

What happens to it reads like the scenario: lab.cut(a, b), lab.heal(), lab.freeze(rack),
lab.wait_until(...). Every wait has an end.
"""

import os
import shutil
import signal
import subprocess
import time

from dray_e2e import certs, clients, images, readers, registry, wire
from dray_e2e import node as nodes
from dray_e2e.stage import wait_for

from .network import MB, Network
from .rack import PORT, Rack

REGISTRY = "registry.example.org"
REPOSITORY = "website/ui"


class Desk:
    """A host of an office where people pull. Clients are made when they are first wanted."""

    def __init__(self, lab, machine):
        self.lab, self.machine, self.name = lab, machine, machine.name
        self._skopeo = self._containerd = None
        self.docker = None

    @property
    def skopeo(self):
        self._skopeo = self._skopeo or clients.Skopeo(self.lab.stage, self.machine)
        return self._skopeo

    @property
    def containerd(self):
        self._containerd = self._containerd or clients.Containerd(self.lab.stage, self.machine)
        return self._containerd

    def pull(self, rack, image, timeout=80):
        """Through one rack, from nothing, checked blob by blob. Seconds it took. By skopeo; by ctr where
        the rack has an IPv6 address, which skopeo cannot name."""
        pull = self._pull_by_ctr if ":" in rack.place.address else self._pull_by_skopeo
        return pull(rack, image, timeout)

    def _pull_by_skopeo(self, rack, image, timeout):
        started = time.monotonic()
        done, folder = self.skopeo.copy(f"{rack.host}/{REPOSITORY}:{image.tag}", ca=rack.ca,
                                        timeout=timeout)
        took = time.monotonic() - started
        done.must()
        self.skopeo.verify(folder, image)
        shutil.rmtree(folder)
        return took

    def _pull_by_ctr(self, rack, image, timeout):
        name = f"{REGISTRY}/{REPOSITORY}:{image.tag}"
        hosts = self.containerd.hosts(REGISTRY, rack.url, rack.ca)
        started = time.monotonic()
        self.containerd.pull(name, hosts, timeout=timeout).must()
        took = time.monotonic() - started
        self.containerd.verify(image)
        self.containerd.forget(name)
        return took

    def look(self, rack, image):
        """`skopeo inspect`: the manifest only."""
        done = clients.execute([*self.machine.via, self.skopeo.program, "inspect", "--raw",
                                "--tls-verify=false",
                                f"docker://{rack.host}/{REPOSITORY}:{image.tag}"], self.skopeo.env)
        if done.must().out.encode() != image.manifest:
            raise AssertionError(f"{rack.name}: another manifest of {image.tag}")

    def read(self, rack, image, layer=0, slow=0.0):
        """A client that reads one layer in the background."""
        digest = image.layer_digests[layer]
        return readers.Reader(_Visitor(self.machine, rack), f"/v2/{REPOSITORY}/blobs/{digest}", slow=slow)


class _Visitor:
    """How a Reader at a desk opens what a rack serves."""

    def __init__(self, machine, rack):
        self.machine, self.rack = machine, rack

    def open(self, path, headers=(), **more):
        with self.machine.inside():
            return wire.open_reply(self.rack.url + path, "GET", headers, ca=self.rack.ca, **more)


class Lab:
    """`racks`: {office: how many}; they are named london1, london2, ... `wan`: MB/s of the registry's
    line. `seeds`: names of the racks that everybody is told of; the first one by default. `tls`: for
    clients and between nodes; else all is plain. `config` is laid over every node's."""

    def __init__(self, stage, story, racks, wan=None, family=4, seeds=None, tls=False, config=None):
        self.stage, self.story = stage, story
        self.network = Network(family)
        stage.defer(self.network.close)
        self.offices, self.racks, self._desks = {}, [], {}
        self.centre = self.network.add_office("centre")
        self.registry_host = self.network.add_host(self.centre, "registry")
        self.registry = registry.Registry(stage, place=self.registry_host)
        self.upstreams = [{"name": REGISTRY, "url": self.registry.url}]
        self.network.shape(self.centre, up=wan and wan * MB, down=wan and wan * MB)
        self._authority = certs.Authority(stage.dir("ca")) if tls else None
        self.mesh_key = self.new_mesh_key()
        self._config = config or {}
        hosts = [self._host(office, i + 1) for office, n in racks.items() for i in range(n)]
        self.seeds = seeds or [hosts[0].name]
        for host in hosts:
            self.racks.append(self._rack(host))
        line = f", registry behind {wan:g} MB/s" if wan else ""
        story.tell(f"{len(hosts)} racks in {', '.join(racks)}{line}, IPv{family}")

    def new_mesh_key(self):
        """A file with one new key."""
        code, key, err = nodes.run("keygen", "mesh")
        if code:
            raise AssertionError(f"keygen mesh: {err}")
        return self.stage.file(f"{self.stage.dir('key')}/mesh.key", key)

    def _copy_of_key(self, name):
        with open(self.mesh_key, encoding="utf-8") as f:
            return self.stage.file(f"{self.stage.dir('key')}/{name}.key", f.read())

    def _host(self, office, number):
        if office not in self.offices:
            self.offices[office] = self.network.add_office(office)
        return self.network.add_host(self.offices[office], f"{office}{number}")

    def _rack(self, host, seeds=None, **more):
        seeds = self.seeds if seeds is None else seeds
        by_name = {h.name: h for h in self.network.hosts}
        config = {
            "name": host.name, "rack": host.name, "region": "lab",
            "listen": host.at(PORT), "advertise": host.at(PORT),
            "mesh_key": self._copy_of_key(host.name),
            "seeds": [by_name[name].at(PORT) for name in seeds],
            "store": {"path": self.stage.dir(f"store-{host.name}"), "capacity": "1GiB"},
        }
        tls = ca = None
        if self._authority:
            tls, ca = self._authority.server(host.name, host.addresses()), self._authority.ca
        else:
            config |= {"plain_http": True, "peer_plain": True}
        return Rack(self, host, tls, ca, nodes.merge(nodes.merge(config, self._config), more))

    # --- who is there ------------------------------------------------------------------------------

    def rack(self, name):
        return next(rack for rack in self.racks if rack.name == name)

    def office(self, name):
        return self.offices[name]

    def desk(self, office):
        """The desk of an office; made when it is first wanted."""
        if office not in self._desks:
            host = self.network.add_host(self.offices[office], f"{office}-desk")
            self._desks[office] = Desk(self, host)
        return self._desks[office]

    def add_rack(self, office, seeds, **config):
        """One more rack, not yet started, that knows only these seeds."""
        number = sum(1 for rack in self.racks if rack.machine.office.name == office) + 1
        rack = self._rack(self._host(office, number), seeds, **config)
        self.racks.append(rack)
        return rack

    def living(self):
        return [rack for rack in self.racks if rack.alive]

    def push(self, tag, *sizes_mb):
        """A new image in the registry, of layers of so many MB that do not compress."""
        layers = [images.tar_layer([("data", images.random_bytes(int(mb * MB), f"{tag}-{i}"))])
                  for i, mb in enumerate(sizes_mb)]
        image = images.build(layers)
        image.tag = tag
        return self.registry.push(REPOSITORY, tag, image)

    # --- beginning and end -------------------------------------------------------------------------

    def start(self, *racks):
        """Starts these racks, or all."""
        racks = racks or self.racks
        for rack in racks:
            rack.start(wait=False)
        for rack in racks:
            rack.process.until(rack.ready, timeout=30)
        self.story.tell("they are ready")
        return self

    def finish(self):
        """Every node that runs ends now, and must end well."""
        running = [r for r in self.racks if r.process and r.process.running()]
        for rack in running:
            rack.process.signal(signal.SIGCONT)
            rack.process.signal(signal.SIGTERM)
        problems = []
        for rack in running:
            try:
                rack.await_end(40)
            except (AssertionError, OSError, subprocess.SubprocessError) as e:
                problems.append(f"{rack.name}: {e}")
        if problems:
            raise AssertionError("\n".join(problems))

    # --- what can be done to it --------------------------------------------------------------------

    def cut(self, a, b):
        """Nothing goes between a and b (racks, offices, desks, the registry's host)."""
        self.story.tell(f"cut between {a} and {b}")
        self.network.drop(_side(a), _side(b))
        self.network.drop(_side(b), _side(a))

    def cut_one_way(self, a, b):
        """What a sends does not reach b; b reaches a."""
        self.story.tell(f"{a} no longer reaches {b}")
        self.network.drop(_side(a), _side(b))

    def unplug(self, x):
        self.story.tell(f"{x} is unplugged")
        self.network.unplug(_side(x))

    def lose(self, share):
        """That share of all datagrams is lost, everywhere."""
        self.story.tell(f"{share:.0%} of all datagrams are lost")
        for rack in self.racks:
            self.network.lose(rack.machine, share)

    def heal(self):
        self.story.tell("the network heals")
        self.network.heal()

    def slow_down(self, x, mb_per_s):
        """The cable of x carries so many MB/s each way."""
        self.story.tell(f"the cable of {x} carries {mb_per_s:g} MB/s")
        self.network.shape(_side(x), up=mb_per_s * MB, down=mb_per_s * MB)

    # --- waiting and looking -----------------------------------------------------------------------

    def wait_until(self, what, condition, within):
        """Seconds until `condition` was true; too late is an error that says `what`."""
        started = time.monotonic()
        wait_for(condition, within, what, every=0.05)
        took = time.monotonic() - started
        self.story.tell(f"{what} (after {took:.1f} s)")
        return took

    def wait_until_all_know_each_other(self, racks=None, within=30):
        """Each of these (or of all that live) takes exactly these for alive."""
        racks = self.living() if racks is None else racks
        names = {rack.name for rack in racks}
        try:
            return self.wait_until(f"{len(racks)} racks know each other",
                                   lambda: all(rack.knows(names) for rack in racks), within)
        except TimeoutError as late:
            views = "\n".join(f"  {rack.name} sees {sorted(rack.members().items())}" for rack in racks)
            raise TimeoutError(f"{late}; expected {sorted(names)}\n{views}") from None

    def hold_together(self, seconds):
        """For so long, nobody may give up any of the living."""
        names, end = {rack.name for rack in self.living()}, time.monotonic() + seconds
        while time.monotonic() < end:
            for rack in self.living():
                if set(rack.sees()) != names:
                    raise AssertionError(f"{rack.name} sees {sorted(rack.members().items())}")
            time.sleep(0.1)
        self.story.tell(f"they held together for {seconds} s")

    def wait_until_all_know(self, image, *holders, among=None, within=30):
        """Each other living rack (or each `among` them) knows that these hold every layer of the image."""
        names = {rack.name for rack in holders}
        others = [r for r in (self.living() if among is None else among) if r.name not in names]
        return self.wait_until(f"all know that {', '.join(sorted(names))} holds image {image.tag}",
                               lambda: all(names <= rack.holders(digest) for rack in others
                                           for digest in image.blobs()), within)

    def when_each(self, what, racks, condition, within):
        """{name: seconds until condition(rack) was true there}; too late anywhere is an error."""
        started, at = time.monotonic(), {}

        def look():
            for rack in racks:
                if rack.name not in at and condition(rack):
                    at[rack.name] = time.monotonic() - started
            return len(at) == len(racks)
        try:
            wait_for(look, within, what, every=0.02)
        except TimeoutError as late:
            missing = sorted({rack.name for rack in racks} - set(at))
            raise TimeoutError(f"{late}; still missing: {', '.join(missing)}") from None
        self.story.tell(f"{what} (after {min(at.values()):.1f} to {max(at.values()):.1f} s)")
        return at

    def busiest_sender(self, racks, seconds=0.5):
        """Which of these sends most right now, by its network card."""
        before = {rack.name: rack.machine.counters()[1] for rack in racks}
        time.sleep(seconds)
        return max(racks, key=lambda rack: rack.machine.counters()[1] - before[rack.name])

    def registry_bytes(self):
        """Bytes of blobs that the registry sent, by its own log."""
        return sum(row["bytes"] for row in self.registry.access()
                   if row["method"] == "GET" and "/blobs/" in row["path"])

    def copies(self, image, since=0):
        """How many times over the registry sent this image's blobs, by its own log."""
        time.sleep(0.3)  # it writes the line after the last byte
        blobs = image.blobs()
        sent = sum(row["bytes"] for row in self.registry.access()[since:]
                   if row["method"] == "GET" and row["path"].split("/")[-1] in blobs)
        return sent / sum(len(data) for data in blobs.values())

    def keep_logs(self, folder):
        """All that may explain a failure."""
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "network.txt"), "w", encoding="utf-8") as f:
            f.write(self.network.describe())
        for rack in self.racks:
            if rack.process and rack.process.running():
                with open(os.path.join(folder, f"{rack.name}.json"), "w", encoding="utf-8") as f:
                    f.write(rack.picture())
        for name in os.listdir(self.stage.path):
            path = os.path.join(self.stage.path, name)
            if os.path.isfile(path) and name.endswith((".log", ".yaml", ".yml", ".toml", ".conf")):
                subprocess.run(["cp", path, folder], check=False)


def _side(x):
    """What the network knows of it: a rack or a desk stands for its host."""
    return getattr(x, "machine", x)
