"""The region while its nodes come and go."""

import os
import re
import subprocess
import unittest

from draylab import load
from draylab.scenario import Scenarios, scenario

# A dray-node of the next wire version; `make lab` builds one.
NEXT = os.environ.get("DRAY_NODE_NEXT", "")


def wire_version(program):
    out = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"wire version (\d+)", out)[1])


def put_to_work(lab, images):
    """A client of each kind, in turn in each office, and one more of skopeo."""
    work = load.Load(lab.story)
    offices = list(lab.offices)
    for i, kind in enumerate((load.Ctr, load.Skopeo, load.Docker, load.Skopeo)):
        office = offices[i % len(offices)]
        own = [r for r in lab.racks if r.machine.office.name == office]
        others = [r for r in lab.racks if r.machine.office.name != office]
        work.add(kind, lab.desk(office), [*own, others[0]], images)
    return work.start()


def roll(lab, restart):
    """Every node in turn: restart(rack); before the next, the region is whole and all have pulled on.
    There is always something new to pull. Not one pull may fail."""
    images = [lab.push(f"load{i}", 4, 2, 0.1) for i in range(3)]
    work = put_to_work(lab, images)
    for i, rack in enumerate(lab.racks):
        images.append(lab.push(f"load{i + 3}", 3, 1))
        restart(rack)
        lab.wait_until_all_know_each_other()
        work.wait_for_one_more_each()
    work.stop()
    for client in work.clients():
        lab.measure(f"pulls by {client}", work.pulls(client), at_least=len(lab.racks))
    lab.measure("slowest pull", work.slowest(), "s")
    lab.measure("sent by the registry", sum(map(lab.copies, images)) / len(images), "copies")
    for failure in work.failures():
        lab.story.tell(failure)
    lab.measure("failed pulls", len(work.failures()), at_most=0)


class Restarts(Scenarios):
    @scenario(racks={"london": 2, "paris": 2, "rome": 2}, wan=20)
    def test_rolling_restart_under_load(self, lab):
        """Every node is restarted, one after the other, while clients pull: not one pull fails."""
        def restart(rack):
            rack.stop()
            rack.start()
        roll(lab, restart)

    @scenario(racks={"london": 2, "paris": 2, "rome": 2}, wan=20)
    def test_rolling_upgrade_across_a_wire_version(self, lab):
        """The same, and each node comes back as a program that speaks the next version of the wire."""
        if not NEXT:
            raise unittest.SkipTest("no dray-node of the next wire version: `make lab` builds one")
        old, new = wire_version(lab.racks[0].program), wire_version(NEXT)
        lab.story.tell(f"from wire version {old} to {new}")
        if new != old + 1:
            raise AssertionError("the next program must speak the next version")

        def upgrade(rack):
            rack.stop()
            rack.program = NEXT
            rack.start()
        roll(lab, upgrade)
