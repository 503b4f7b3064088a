"""How soon everybody knows that a node is gone, and that it is back."""

import statistics
import time

from draylab.scenario import Scenarios, scenario

SIXTEEN = {"london": 4, "paris": 4, "rome": 4, "oslo": 4}


def gone_for_all(lab, lost, within=30):
    """Seconds until each of the living has given `lost` up."""
    times = lab.when_each(f"everybody knows that {lost} is gone", lab.living(),
                          lambda rack: rack.lost(lost.name), within)
    return sorted(times.values())


def watch(lab, go_on):
    """Looks at every neighbour while go_on(); (looks, how often one was suspected, or given up)."""
    looks = suspected = wrong = 0
    while go_on():
        for rack in lab.racks:
            seen = rack.sees()
            looks += len(lab.racks)
            suspected += sum(state == "suspect" for state in seen.values())
            wrong += len(lab.racks) - len(seen)
        time.sleep(0.1)
    lab.measure("looks at a neighbour", looks)
    lab.measure("suspected just then", suspected)
    lab.measure("false deaths seen", wrong, at_most=0)


class Crashes(Scenarios):
    @scenario(racks=SIXTEEN)
    def test_crash_is_noticed_by_all(self, lab):
        """kill -9 of three of sixteen nodes, one after the other."""
        times = []
        for name in ("rome2", "london1", "oslo4"):
            lab.rack(name).kill()
            times += gone_for_all(lab, lab.rack(name))
        lab.measure("known, median", statistics.median(times), "s", at_most=8.0)
        lab.measure("known by all", max(times), "s", at_most=11.0)
        lab.start(*(rack for rack in lab.racks if not rack.alive))
        lab.measure("back for all", lab.wait_until_all_know_each_other(), "s", at_most=15.0)

    @scenario(racks=SIXTEEN)
    def test_dead_machine_is_noticed_by_all(self, lab):
        """The cable of one of sixteen machines is pulled out: nothing refuses, nothing resets."""
        lost = lab.rack("oslo1")
        lab.unplug(lost)
        lost.alive = False
        lab.measure("known by all", gone_for_all(lab, lost)[-1], "s", at_most=11.0)
        lab.heal()
        lost.alive = True
        lab.measure("back for all", lab.wait_until_all_know_each_other(within=90), "s", at_most=60.0)

    @scenario(racks={"london": 2, "paris": 2}, small=True)
    def test_good_bye_is_noticed_by_all(self, lab):
        """SIGTERM: a node that ends in order says so."""
        lost = lab.rack("paris1")
        lost.begin_to_stop()
        lab.measure("known by all", gone_for_all(lab, lost)[-1], "s", at_most=2.0)

    @scenario(racks={"london": 3, "paris": 3})
    def test_frozen_node_comes_back(self, lab):
        """A node is frozen until all take it for dead; when it goes on, it speaks up for itself."""
        lost = lab.rack("paris2")
        lost.freeze()
        lab.measure("known by all", gone_for_all(lab, lost)[-1], "s", at_most=11.0)
        lost.thaw()
        lab.measure("back for all", lab.wait_until_all_know_each_other(within=90), "s", at_most=30.0)

    @scenario(racks=SIXTEEN, needs=("loss",))
    def test_loss_kills_nobody(self, lab):
        """One datagram in twenty is lost for a minute: nobody is taken for dead."""
        lab.lose(0.05)
        end = time.monotonic() + 60
        watch(lab, lambda: time.monotonic() < end)

    @scenario(racks={"london": 2, "paris": 3})
    def test_saturated_line_kills_nobody(self, lab):
        """Three racks fill their office's line with layers: a full queue is not a dead neighbour."""
        image = lab.push("1", 25, 25)
        for rack in lab.racks[:2]:
            lab.desk("london").pull(rack, image)
        lab.wait_until_all_know(image, *lab.racks[:2])
        lab.slow_down(lab.office("paris"), 6)
        readers = [lab.desk("paris").read(rack, image, layer) for rack in lab.racks[2:]
                   for layer in (0, 1)]
        end = time.monotonic() + 90
        watch(lab, lambda: time.monotonic() < end and any(r.is_alive() for r in readers))
        slowest = max(reader.finish(10).took for reader in readers)
        lab.measure("all read in", slowest, "s")
        wrong = [r for r in readers if (r.status, r.ended) != (200, "full")]
        lab.measure("reads that failed", len(wrong), at_most=0)
