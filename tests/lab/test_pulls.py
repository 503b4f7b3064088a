"""Who gets what from where, while nothing is wrong."""

import time
from concurrent.futures import ThreadPoolExecutor

from draylab.scenario import Scenarios, scenario


def pull_in_turn(lab, image):
    """Every rack's office pulls through its rack, one after the other."""
    for rack in lab.racks:
        before = rack.fetched()
        took = lab.desk(rack.machine.office.name).pull(rack, image)
        after = rack.fetched()
        peers, registry = (after[k] - before[k] for k in ("peer", "origin"))
        lab.story.tell(f"{rack} pulled in {took:.2f} s: {peers / 1e6:.1f} MB from peers, "
                       f"{registry / 1e6:.1f} MB from the registry")
        lab.wait_until_all_know(image, rack)


class Pulls(Scenarios):
    @scenario(racks={"london": 1, "paris": 1, "rome": 1}, wan=10, small=True)
    def test_three_racks_pull_one_image(self, lab):
        """The registry sends every layer once; the others get it from a peer."""
        image = lab.push("1", 6, 3, 0.2)
        pull_in_turn(lab, image)
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=1.005)

    @scenario(racks={"london": 2, "paris": 1}, wan=10, family=6)
    def test_three_racks_over_ipv6(self, lab):
        """The same where there is nothing but IPv6."""
        image = lab.push("1", 6, 3, 0.2)
        pull_in_turn(lab, image)
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=1.005)

    @scenario(racks={"london": 2, "paris": 1}, wan=10, tls=True)
    def test_three_racks_over_tls(self, lab):
        """The same with TLS, for clients and between nodes."""
        image = lab.push("1", 6, 3, 0.2)
        pull_in_turn(lab, image)
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=1.005)

    @scenario(racks={"london": 4, "paris": 4, "rome": 4, "oslo": 4}, wan=20)
    def test_sixteen_racks_pull_one_image(self, lab):
        """Sixteen racks pull one image one after the other: one copy crosses the long line."""
        image = lab.push("1", 12, 5, 2, 0.5, 0.1)
        pull_in_turn(lab, image)
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=1.005)

    @scenario(racks={"london": 4, "paris": 4, "rome": 4, "oslo": 4}, wan=20)
    def test_sixteen_racks_pull_at_once(self, lab):
        """All of them at the same moment, an image that nobody has: every pull succeeds."""
        image = lab.push("1", 6, 3, 0.2)
        desks = [lab.desk(rack.machine.office.name) for rack in lab.racks]
        for desk in desks:
            assert desk.skopeo  # they share one for each office: made here, not by two at once
        started = time.monotonic()
        with ThreadPoolExecutor(len(lab.racks)) as pool:
            times = list(pool.map(lambda desk, rack: desk.pull(rack, image), desks, lab.racks))
        lab.measure("pulls", len(times), at_least=16)
        lab.measure("all done in", time.monotonic() - started, "s")
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=2.0)
