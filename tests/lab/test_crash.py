"""How soon everybody knows that a node is gone, and that it is back."""

import statistics
import time

from draylab.scenario import Scenarios, scenario

SIXTEEN = {"london": 4, "paris": 4, "rome": 4, "oslo": 4}


def gone_for_all(lab, lost, within):
    """Seconds until each of the living has given `lost` up."""
    times = lab.when_each(f"everybody knows that {lost} is gone", lab.living(),
                          lambda rack: rack.lost(lost.name), within)
    lab.measure("known, median", statistics.median(times.values()), "s")
    return max(times.values())


class Crashes(Scenarios):
    @scenario(racks=SIXTEEN)
    def test_crash_is_noticed_by_all(self, lab):
        """kill -9 of one of sixteen nodes."""
        lost = lab.rack("rome2")
        lost.kill()
        lab.measure("known by all", gone_for_all(lab, lost, 30), "s", at_most=11.0)
        lost.start()
        lab.measure("back for all", lab.wait_until_all_know_each_other(), "s", at_most=15.0)

    @scenario(racks=SIXTEEN)
    def test_dead_machine_is_noticed_by_all(self, lab):
        """The cable of one of sixteen machines is pulled out: nothing refuses, nothing resets."""
        lost = lab.rack("oslo1")
        lab.unplug(lost)
        lost.alive = False
        lab.measure("known by all", gone_for_all(lab, lost, 30), "s", at_most=11.0)
        lab.heal()
        lost.alive = True
        lab.measure("back for all", lab.wait_until_all_know_each_other(within=90), "s", at_most=60.0)

    @scenario(racks={"london": 2, "paris": 2}, small=True)
    def test_good_bye_is_noticed_by_all(self, lab):
        """SIGTERM: a node that ends in order says so."""
        lost = lab.rack("paris1")
        lost.begin_to_stop()
        lab.measure("known by all", gone_for_all(lab, lost, 20), "s", at_most=2.0)

    @scenario(racks={"london": 3, "paris": 3})
    def test_frozen_node_comes_back(self, lab):
        """A node is frozen until all take it for dead; when it goes on, it speaks up for itself."""
        lost = lab.rack("paris2")
        lost.freeze()
        lab.measure("known by all", gone_for_all(lab, lost, 30), "s", at_most=11.0)
        lost.thaw()
        lab.measure("back for all", lab.wait_until_all_know_each_other(within=90), "s", at_most=30.0)

    @scenario(racks=SIXTEEN, needs=("loss",))
    def test_loss_kills_nobody(self, lab):
        """One datagram in twenty is lost for a minute: nobody is taken for dead."""
        lab.lose(0.05)
        looks = wrong = suspected = 0
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for rack in lab.racks:
                seen = rack.sees()
                looks += len(lab.racks)
                wrong += len(lab.racks) - len(seen)
                suspected += sum(state == "suspect" for state in seen.values())
            time.sleep(0.25)
        lab.measure("looks at a neighbour", looks)
        lab.measure("suspected just then", suspected)
        lab.measure("false deaths seen", wrong, at_most=0)
