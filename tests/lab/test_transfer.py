"""The peer that sends a layer is lost in the middle of it. The client must not notice."""

from draylab import load
from draylab.scenario import Scenarios, scenario

THREE = {"london": 1, "paris": 1, "rome": 1}


def hold_and_slow_down(lab, image):
    """Two racks hold it, and no cable carries more than 8 MB/s; the two, and the third, which will ask."""
    holders, asker = lab.racks[:2], lab.racks[2]
    for rack in holders:
        lab.desk(rack.machine.office.name).pull(rack, image)
    lab.wait_until_all_know(image, *holders)
    for rack in lab.racks:
        lab.slow_down(rack, 8)
    return holders, asker


def lose_the_source(lab, lose):
    """While the third rack fetches a layer for a client, `lose` the rack that sends it."""
    image = lab.push("1", 40)
    holders, asker = hold_and_slow_down(lab, image)
    copies = lab.copies(image)
    reader = lab.desk("rome").read(asker, image)
    lab.wait_until("a quarter of the layer has arrived",
                   lambda: reader.received > 10_000_000 or reader.ended or reader.error, 20)
    source = lab.busiest_sender(holders)
    at = reader.received
    lose(source)
    reader.finish()
    lab.story.tell(f"lost {source} at {at / 1e6:.1f} MB; {reader}")
    lab.measure("read by the client", reader.received / 1e6, "MB")
    lab.measure("the client's longest wait", reader.longest_wait, "s", at_most=5.0)
    lab.measure("sent by the registry meanwhile", lab.copies(image) - copies, "copies", at_most=0.005)
    if (reader.status, reader.ended, reader.digest) != (200, "full", image.layer_digests[0]):
        raise AssertionError(f"the client noticed: {reader}")


class Transfers(Scenarios):
    @scenario(racks=THREE, wan=40)
    def test_source_killed_in_mid_transfer(self, lab):
        """kill -9 of the node that sends: the connection is reset."""
        lose_the_source(lab, lambda rack: rack.kill())

    @scenario(racks=THREE, wan=40)
    def test_source_frozen_in_mid_transfer(self, lab):
        """SIGSTOP of the node that sends: the connection stands, and nothing comes."""
        lose_the_source(lab, lambda rack: rack.freeze())

    @scenario(racks=THREE, wan=40)
    def test_source_unplugged_in_mid_transfer(self, lab):
        """The cable of the node that sends is out: packets vanish."""
        def unplug(rack):
            lab.unplug(rack)
            rack.alive = False
        lose_the_source(lab, unplug)

    @scenario(racks=THREE, wan=40)
    def test_source_slows_down_in_mid_transfer(self, lab):
        """The node that sends goes on at a crawl, 50 kB/s: it is left for the other."""
        lose_the_source(lab, lambda rack: lab.slow_down(rack, 0.05))

    @scenario(racks=THREE, wan=40)
    def test_real_clients_lose_both_sources(self, lab):
        """ctr, docker and skopeo pull; one source freezes, the other dies; the registry gives the rest."""
        image = lab.push("1", 40, 2)
        holders, asker = hold_and_slow_down(lab, image)
        work = load.Load(lab.story)
        for kind in (load.Ctr, load.Docker, load.Skopeo):
            work.add(kind, lab.desk("rome"), [asker], [image])
        before = asker.fetched()
        work.start()
        lab.wait_until("some MB have come from peers",
                       lambda: asker.fetched()["peer"] - before["peer"] > 6e6, 20)
        source = lab.busiest_sender(holders)
        source.freeze()
        other = next(rack for rack in holders if rack is not source)
        lab.wait_until(f"{other} sends instead",
                       lambda: lab.busiest_sender([other, asker], 0.2) is other, 10)
        other.kill()
        work.stop()
        after = asker.fetched()
        for client in work.clients():
            lab.measure(f"pulls by {client}", work.pulls(client), at_least=1)
        lab.measure("from peers", (after["peer"] - before["peer"]) / 1e6, "MB", at_least=6.0)
        lab.measure("from the registry", (after["origin"] - before["origin"]) / 1e6, "MB", at_most=40.0)
        for failure in work.failures():
            lab.story.tell(failure)
        lab.measure("failed pulls", len(work.failures()), at_most=0)
