"""What goes on without the registry, and without the seed."""

import time

from draylab.scenario import Scenarios, scenario


GRACE = {"authz": {"ttl": "60s", "grace": "10m"}}


def pull_without_registry(lab, take_away, at_most):
    """London holds an image, users in Paris looked at it; then the registry is away and they pull."""
    image = lab.push("1", 5, 1)
    london, paris = lab.racks
    lab.desk("london").pull(london, image)
    lab.wait_until_all_know(image, london)
    lab.desk("paris").look(paris, image)
    lab.story.tell("in paris they looked at the manifest only")
    copies = lab.copies(image)
    take_away()
    took = lab.desk("paris").pull(paris, image)
    lab.measure("pulled without the registry in", took, "s", at_most=at_most)
    lab.measure("and once more in", lab.desk("paris").pull(paris, image), "s", at_most=at_most)
    lab.measure("copies that the registry had sent", copies, at_most=1.005)
    if not paris.holds(image):
        raise AssertionError(f"{paris} does not hold all of it")


class Absent(Scenarios):
    @scenario(racks={"london": 1, "paris": 1}, wan=20, config=GRACE, small=True)
    def test_registry_stopped(self, lab):
        """The registry refuses connections: a rack whose users were permitted gets all from its peer."""
        pull_without_registry(lab, lab.registry.stop, at_most=10.0)

    @scenario(racks={"london": 1, "paris": 1}, wan=20, config=GRACE)
    def test_registry_cut_off(self, lab):
        """The registry is silent: the same, but each question to it takes its time to fail."""
        def cut():
            for office in ("london", "paris"):
                lab.cut(lab.registry_host, lab.office(office))
        pull_without_registry(lab, cut, at_most=15.0)

    @scenario(racks={"london": 2, "paris": 2}, wan=20)
    def test_seed_gone(self, lab):
        """The seed dies: the region goes on, newcomers find another; who knew only it serves and waits."""
        seed = lab.rack("london1")
        seed.kill()
        lab.wait_until_all_know_each_other()
        image = lab.push("1", 5, 1)
        for name in ("london2", "paris1"):
            rack = lab.rack(name)
            lab.desk(rack.machine.office.name).pull(rack, image)
            lab.wait_until_all_know(image, rack)
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=1.005)
        newcomer = lab.add_rack("paris", seeds=["london1", "london2"])
        lab.start(newcomer)
        lab.measure("a newcomer with one living seed joins",
                    lab.wait_until_all_know_each_other(), "s", at_most=15.0)
        others = lab.living()
        lonely = lab.add_rack("london", seeds=["london1"])
        lab.start(lonely)
        time.sleep(3)
        if not lonely.knows({lonely.name}):
            raise AssertionError(f"{lonely} sees {lonely.sees()}: whom did it ask?")
        lab.desk("london").pull(lonely, image)
        lab.story.tell(f"{lonely} knows nobody, and serves")
        seed.start()
        lab.measure("it joins when its seed is back",
                    lab.wait_until_all_know_each_other([*others, seed, lonely], within=60), "s",
                    at_most=30.0)
