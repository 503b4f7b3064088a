"""The region is cut in two, both ways and one way, and heals by itself."""

from draylab.scenario import Scenarios, scenario

FOUR = {"london": 2, "paris": 2}


def sides(lab):
    return [[r for r in lab.racks if r.machine.office.name == office] for office in ("london", "paris")]


def pull_on_both_sides(lab, tag):
    """A new image is pulled in both offices; how many copies the registry sent."""
    image = lab.push(tag, 4, 1)
    for rack in (lab.rack("london1"), lab.rack("paris1")):
        took = lab.desk(rack.machine.office.name).pull(rack, image)
        lab.story.tell(f"{rack} pulled image {tag} in {took:.2f} s")
        lab.wait_until_all_know(image, rack, among=[r for r in lab.racks
                                                    if rack.name in r.sees()])
    return lab.copies(image)


def heal(lab, while_apart):
    """Afterwards all is as if nothing had been, also what was fetched meanwhile."""
    lab.heal()
    lab.measure("all know each other again", lab.wait_until_all_know_each_other(within=120), "s",
                at_most=60.0)
    lab.measure("a layer from before is known",
                lab.wait_until_all_know(while_apart, lab.rack("london1")), "s", at_most=30.0)
    lab.desk("paris").pull(lab.rack("paris2"), while_apart)
    lab.measure("image from while apart", lab.copies(while_apart), "copies", at_most=1.005)
    lab.measure("new image afterwards", pull_on_both_sides(lab, "after"), "copies", at_most=1.005)


class Partitions(Scenarios):
    @scenario(racks=FOUR, wan=20)
    def test_two_offices_cut_apart(self, lab):
        """Two offices lose each other: each goes on alone, and both are one region again afterwards."""
        lab.cut(lab.office("london"), lab.office("paris"))
        for side in sides(lab):
            lab.wait_until_all_know_each_other(side)
        lab.measure("pulled on both sides while apart", pull_on_both_sides(lab, "apart"), "copies",
                    at_most=2.005)
        alone = lab.push("alone", 3)
        lab.desk("london").pull(lab.rack("london1"), alone)
        heal(lab, alone)

    def one_way(self, lab, deaf, mute):
        """`mute` no longer reaches `deaf`: whatever they think of each other, everybody pulls."""
        lab.cut_one_way(lab.office(mute), lab.office(deaf))
        lab.wait_until(f"{deaf} no longer counts on {mute}", lambda: all(
            not any(name.startswith(mute) for name in rack.sees())
            for rack in lab.racks if rack.machine.office.name == deaf), 30)
        lab.measure("pulled on both sides while apart", pull_on_both_sides(lab, "apart"), "copies",
                    at_most=2.005)
        alone = lab.push("alone", 3)
        lab.desk("london").pull(lab.rack("london1"), alone)
        heal(lab, alone)

    @scenario(racks=FOUR, wan=20)
    def test_london_cannot_reach_paris(self, lab):
        """One way is broken, from the seed's office to the other."""
        self.one_way(lab, deaf="paris", mute="london")

    @scenario(racks=FOUR, wan=20)
    def test_paris_cannot_reach_london(self, lab):
        """One way is broken, from the other office to the seed's."""
        self.one_way(lab, deaf="london", mute="paris")
