"""A flash crowd on real lines: sixteen racks want the same cold layer at once.

Every cable carries 100 Mbit/s, and so does the registry's. Clients sit in their racks, so that only the
way to the registry and between racks is narrow. No swarm can be quicker than the *bound*: a whole layer
over a client's own cable, or what all cables together can bring.
"""

import hashlib
import os
import time

from dray_e2e import readers, wire
from draylab.lab import REPOSITORY, _Visitor
from draylab.network import MB
from draylab.scenario import Scenarios, scenario

LINE = 12.5  # MB/s: 100 Mbit/s
RACKS = 16
LAYER = 128 << 20
PATIENCE_S = 240


def bound(size, count, line=LINE):
    """Seconds: Kumar and Ross, for equal lines of so many MB/s; the registry's among them."""
    line *= MB
    return max(size / line, count * size / ((count + 1) * line))


def crowd(lab, image, racks):
    """A client in each rack, all at once."""
    path = f"/v2/{REPOSITORY}/blobs/{image.layer_digests[0]}"
    return [readers.Reader(_Visitor(rack.machine, rack), path, timeout=PATIENCE_S) for rack in racks]


def finish(lab, image, clients):
    for reader in clients:
        reader.finish(PATIENCE_S)
        if (reader.status, reader.ended, reader.digest) != (200, "full", image.layer_digests[0]):
            raise AssertionError(f"{reader}: {reader.node.rack.picture()[:4000]}")
    return max(reader.took for reader in clients)


def begin(lab, line=LINE, size=LAYER):
    image = lab.push("1", size / MB)
    for rack in lab.racks:
        lab.network.shape(rack.machine, up=line * MB, down=line * MB)
    return image


def hash_seconds(rack):
    """What the threads that verify have used of the processor."""
    total, folder = 0, f"/proc/{rack.process.pid}/task"
    for task in os.listdir(folder):
        with open(f"{folder}/{task}/stat", encoding="ascii") as f:
            name, rest = f.read().rsplit(")", 1)
        if "dray-hash" in name:
            total += sum(int(n) for n in rest.split()[11:13])
    return total / os.sysconf("SC_CLK_TCK")


def plain_seconds(size):
    """The same bytes through SHA-256, here and now."""
    data, began = bytes(1 << 20), time.thread_time()
    digest = hashlib.sha256()
    for _ in range(size >> 20):
        digest.update(data)
    return time.thread_time() - began


def holders(racks, image):
    return [rack for rack in racks if rack.held(image.layer_digests[0])]


class Crowds:
    """One crowd after the other, each for a layer of its own."""

    def __init__(self, case, lab, size):
        self.case, self.lab, self.size, self.count = case, lab, size, 0

    def image(self):
        self.count += 1
        return self.lab.push(str(self.count), self.size / MB)

    def home_of(self, before):
        """Who appointed somebody since."""
        return [r for r in self.lab.racks if r.alive and self.appointments(r) > before[r.name]]

    @staticmethod
    def appointments(rack):
        return rack.metrics().get('dray_swarm_events_total{event="appointed"}', 0)

    def appointed(self, digest, but=()):
        found = [r for r in self.lab.racks if r.alive and r not in but and
                 (r.blob_fetch(digest) or {}).get("appointed")]
        return found and found[0]

    def fetcher_as(self, role):
        """A layer with its fetcher in that role, its clients, and when they began."""
        for _ in range(20):
            image = self.image()
            digest = image.layer_digests[0]
            before = {r.name: self.appointments(r) for r in self.lab.racks}
            first = self.lab.racks if role != "asker" else self.lab.racks[:1]
            began, clients = time.monotonic(), crowd(self.lab, image, first)
            found = []
            self.lab.wait_until("somebody reads it for all",
                                lambda: found.append(self.appointed(digest)) or found[-1], PATIENCE_S)
            home = self.home_of(before)
            if role != "asker":
                clients += crowd(self.lab, image, [r for r in self.lab.racks if r not in first])
                return image, found[-1], clients, began
            if home and found[-1] not in home:
                clients += crowd(self.lab, image, self.lab.racks[1:])
                return image, found[-1], clients, began
            finish(self.lab, image, clients)
        raise AssertionError("the asker is always the home")

    def play(self, fault=None, role="home"):
        """Seconds until the last client of those that are left is done."""
        lab = self.lab
        image, fetcher, clients, began = self.fetcher_as(role)
        digest, lost = image.layer_digests[0], []

        def read(rack, share):
            fetch = rack.blob_fetch(digest)
            return not fetch or fetch["pieces_held"] > share * fetch["pieces"]
        if fault:
            for share in (0.3, 0.6) if role == "second" else (0.5,):
                lab.wait_until("it is read so far", lambda: read(fetcher, share), PATIENCE_S)
                lost.append(fetcher)
                self.do(fault, fetcher)
                if role == "second" and len(lost) == 1:
                    again = []
                    lab.wait_until("another reads it", lambda: again.append(
                        self.appointed(digest, lost)) or again[-1], PATIENCE_S)
                    fetcher = again[-1]
        stays = [c for c in clients if fault == "cut" or c.node.rack not in lost]
        finish(lab, image, stays)
        took = max(c.took for c in stays)
        lab.story.tell(f"{fault or 'undisturbed'}, {role}: {took:.1f} s, "
                       f"{self.case.layer_copies(lab, image):.2f} copies")
        self.undo(fault, lost)
        return took

    def do(self, fault, rack):
        if fault == "kill":
            rack.kill()
        elif fault == "freeze":
            rack.freeze()
        else:
            self.lab.cut(rack, self.lab.registry_host)

    def undo(self, fault, racks):
        if fault == "cut":
            self.lab.heal()
        for rack in racks:
            if fault == "kill":
                rack.start()
            elif fault == "freeze":
                rack.thaw()
        self.lab.wait_until_all_know_each_other()


class Swarms(Scenarios):
    @scenario(racks={"london": RACKS}, wan=LINE)
    def test_flash_crowd(self, lab):
        """All sixteen at once: one copy over the long line, and close to what the lines permit."""
        self.crowd(lab, LINE, LAYER)

    @scenario(racks={"london": RACKS}, wan=LINE / 4)
    def test_flash_crowd_on_thin_lines(self, lab):
        """The same in small, 25 Mbit/s and 32 MiB, which a slow machine can still drive."""
        self.crowd(lab, LINE / 4, LAYER // 4)

    def crowd(self, lab, line, size):
        image = begin(lab, line, size)
        layer = len(image.blobs()[image.layer_digests[0]])
        clients = crowd(lab, image, lab.racks)
        took = finish(lab, image, clients)
        lab.story.tell("clients were done after " +
                       ", ".join(f"{c.took:.1f}" for c in sorted(clients, key=lambda c: c.took)))
        lab.wait_until("all hold it", lambda: len(holders(lab.racks, image)) == RACKS, 60)
        least = bound(layer, RACKS, line)
        lab.measure("the last client is done after", took, "s")
        lab.measure("bound", least, "s")
        lab.measure("the last client, of the bound", took / least, "x")
        used = sum(hash_seconds(rack) for rack in lab.racks)
        lab.measure("verifying, of plain SHA-256", used / (RACKS * plain_seconds(layer)), "x")
        lab.measure("load of this machine", os.getloadavg()[0])
        sent = sum(rack.fetched()["peer"] for rack in lab.racks)
        lab.measure("between the racks", sent / ((RACKS - 1) * layer), "of what is needed")
        lab.measure("sent by the registry", self.layer_copies(lab, image), "copies", at_most=1.01)

    @scenario(racks={"london": RACKS}, wan=LINE / 4)
    def test_flash_crowd_loses_its_fetcher(self, lab):
        """The rack that reads for all is killed half way: another goes on at the piece."""
        line, size = LINE / 4, LAYER // 4
        image = begin(lab, line, size)
        digest = image.layer_digests[0]
        clients, found = crowd(lab, image, lab.racks), []

        def appointed():
            found.extend(r for r in lab.racks if (r.blob_fetch(digest) or {}).get("appointed"))
            return found

        def half_way():
            fetch = found[0].blob_fetch(digest)
            return not fetch or 2 * fetch["pieces_held"] > fetch["pieces"]
        lab.wait_until("somebody reads it for all", appointed, PATIENCE_S)
        lab.wait_until("it is read half way", half_way, PATIENCE_S)
        found[0].kill()
        took = finish(lab, image, [c for c in clients if c.node.rack is not found[0]])
        lab.measure("the last client is done after", took, "s")
        lab.measure("bound", bound(len(image.blobs()[digest]), RACKS, line), "s")
        lab.measure("load of this machine", os.getloadavg()[0])
        lab.measure("sent by the registry", self.layer_copies(lab, image), "copies", at_most=1.5)

    @scenario(racks={"london": 6}, wan=LINE / 4)
    def test_flash_crowd_loses_a_fetcher_in_any_role(self, lab):
        """Killed, frozen, cut off from the registry: as home, as asker, and the second of two in a row."""
        line, size = LINE / 4, LAYER // 8
        for rack in lab.racks:
            lab.network.shape(rack.machine, up=line * MB, down=line * MB)
        crowds = Crowds(self, lab, size)
        calm = [crowds.play() for _ in range(2)]
        lab.measure("undisturbed, the last client is done after", max(calm), "s")
        for fault in ("kill", "freeze", "cut"):
            for role in ("home", "asker", "second"):
                for _ in range(2):
                    took = crowds.play(fault, role)
                    lab.measure(f"{fault}, {role}: added", took - max(calm), "s", at_most=30.0)
        lab.measure("load of this machine", os.getloadavg()[0])

    @scenario(racks={"london": RACKS}, wan=LINE / 4)
    def test_flash_crowd_of_one_holder(self, lab):
        """One rack holds it, the registry is cut off: the one is the seed of a swarm, not a star."""
        line, size = LINE / 4, LAYER // 8
        image = begin(lab, line, size)
        layer = len(image.blobs()[image.layer_digests[0]])
        finish(lab, image, crowd(lab, image, lab.racks[:1]))
        others, digest = lab.racks[1:], image.layer_digests[0]
        lab.wait_until("all know who holds it", lambda: all(
            lab.racks[0].name in rack.holders(digest) for rack in others), 60)
        for rack in others:  # its users may have it, by the registry's word of a moment ago
            path = f"/v2/{REPOSITORY}/blobs/{image.layer_digests[0]}"
            with rack.machine.inside():
                if wire.open_reply(rack.url + path, "HEAD").status != 200:
                    raise AssertionError(f"{rack}: {rack.picture()[:2000]}")
        lab.measure("sent by the registry before", self.layer_copies(lab, image), "copies")
        for rack in others:
            lab.cut(rack, lab.registry_host)
        clients = crowd(lab, image, others)
        took = finish(lab, image, clients)
        # the holder's cable is all there is at first: Kumar and Ross, with it in the registry's place
        least = max(layer / (line * MB), len(others) * layer / (RACKS * line * MB))
        lab.measure("the last client is done after", took, "s")
        lab.measure("bound", least, "s")
        lab.measure("the last client, of the bound", took / least, "x")
        lab.measure("load of this machine", os.getloadavg()[0])
        lab.measure("sent by the registry", self.layer_copies(lab, image), "copies", at_most=1.01)

    @staticmethod
    def layer_copies(lab, image):
        time.sleep(0.5)
        digest = image.layer_digests[0]
        sent = sum(row["bytes"] for row in lab.registry.access()
                   if row["method"] == "GET" and row["path"].endswith(digest) and row["bytes"] > 1)
        return sent / len(image.blobs()[digest])
