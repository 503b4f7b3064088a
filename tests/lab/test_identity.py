"""Who is who: moved nodes, cloned nodes, rolled keys, and layers that must go."""

import re
import shutil
import signal

from draylab.scenario import Scenarios, scenario


def write_ring(lab, rack, *keys):
    """The key file of one rack: the first key seals, all of them open; re-read on SIGHUP."""
    with open(rack.config["mesh_key"], "w", encoding="utf-8") as f:
        f.write("".join(keys))
    rack.process.signal(signal.SIGHUP)
    lab.story.tell(f"{rack} has {len(keys)} key{'s' if len(keys) > 1 else ''}")


class Identity(Scenarios):
    @scenario(racks={"london": 2, "paris": 1}, wan=20)
    def test_node_moves_to_another_machine(self, lab):
        """A node started elsewhere with its store is the same node: its layers are found there."""
        old = lab.rack("london2")
        image = lab.push("1", 4, 1)
        lab.desk("london").pull(old, image)
        lab.wait_until_all_know(image, old)
        old.stop()
        new = lab.add_rack("paris", seeds=["london1"], name="london2",
                           store={"path": old.store, "capacity": "1GiB"})
        new.name = old.name
        lab.start(new)
        lab.measure("seen by all at its new place", lab.wait_until_all_know_each_other(), "s",
                    at_most=15.0)
        lab.wait_until_all_know(image, new)
        lab.desk("paris").pull(lab.rack("paris1"), image)
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=1.005)

    @scenario(racks={"london": 2, "paris": 1})
    def test_cloned_machine_is_refused_loudly(self, lab):
        """A copy of a running node, its key included, is no second node, and both say so."""
        original = lab.rack("london2")
        store = lab.stage.dir("cloned")
        shutil.copytree(original.store, store, dirs_exist_ok=True,
                        ignore=lambda _, names: [n for n in names if n.endswith(".sock")])
        clone = lab.add_rack("paris", seeds=["london1"], name="clone",
                             store={"path": store, "capacity": "1GiB"})
        clone.start(wait=False)
        for rack in (original, clone):
            lab.wait_until(f"{rack} says that its key is used twice",
                           lambda rack=rack: _complains(rack), 30)
        clone.kill()
        original.stop()
        original.start()
        lab.measure("the region is as before", lab.wait_until_all_know_each_other(within=60), "s",
                    at_most=15.0)

    @scenario(racks={"london": 2, "paris": 2}, wan=20)
    def test_mesh_key_is_rolled(self, lab):
        """A new key is installed, used, and the old one removed, while all goes on."""
        with open(lab.mesh_key, encoding="utf-8") as f:
            old = f.read()
        with open(lab.new_mesh_key(), encoding="utf-8") as f:
            new = f.read()
        for rack in lab.racks:
            write_ring(lab, rack, old, new)
        lab.hold_together(5)
        for rack in lab.racks:
            write_ring(lab, rack, new, old)
        lab.hold_together(5)
        for rack in lab.racks:
            write_ring(lab, rack, new)
        lab.hold_together(20)
        image = lab.push("1", 3)
        for rack in (lab.racks[0], lab.racks[3]):
            lab.desk(rack.machine.office.name).pull(rack, image)
            lab.wait_until_all_know(image, rack)
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=1.005)

    @scenario(racks={"london": 2, "paris": 2}, wan=20)
    def test_purge_reaches_everybody(self, lab):
        """A layer is purged on one rack: it is gone everywhere, also where the node was down."""
        image = lab.push("1", 3, 1)
        for rack in lab.racks:
            lab.desk(rack.machine.office.name).pull(rack, image)
        digest, asleep = image.layer_digests[0], lab.rack("paris2")
        asleep.stop()
        code, out, err = lab.rack("london1").command("purge", digest)
        lab.story.tell(f"purge on london1: {code} {out.strip()} {err.strip()}")
        lab.measure("gone from all that run", lab.wait_until(
            "nobody holds it", lambda: not any(r.held(digest) for r in lab.living()), 20), "s",
            at_most=5.0)
        asleep.start()
        lab.measure("gone from the one that was down", lab.wait_until(
            "it does not hold it either", lambda: not asleep.held(digest), 30), "s", at_most=15.0)
        kept = sum(rack.held(image.layer_digests[1]) for rack in lab.racks)
        lab.measure("racks that keep the other layer", kept, at_least=4)


def _complains(rack):
    return re.search(r" error .*another node, at .*, has this node's key", rack.log())
