"""The peer that sends a layer is lost in the middle of it. The client must not notice."""

from draylab.scenario import Scenarios, scenario

THREE = {"london": 1, "paris": 1, "rome": 1}


def lose_the_source(lab, lose):
    """Two racks hold a layer; while the third fetches it for a client, `lose` the one that sends."""
    image = lab.push("1", 40)
    holders, asker = lab.racks[:2], lab.racks[2]
    for rack in holders:
        lab.desk(rack.machine.office.name).pull(rack, image)
    lab.wait_until_all_know(image, *holders)
    copies = lab.copies(image)
    for rack in lab.racks:
        lab.slow_down(rack, 8)
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
