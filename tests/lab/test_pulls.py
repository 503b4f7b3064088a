"""Who gets what from where, while nothing is wrong."""

from draylab.scenario import Scenarios, scenario


class Pulls(Scenarios):
    @scenario(racks={"london": 1, "paris": 1, "rome": 1}, wan=10, small=True, start=False)
    def test_three_racks_pull_one_image(self, lab):
        """The registry sends every layer once; the others get it from a peer."""
        lab.start()
        image = lab.push("1", 6, 3, 0.2)
        for rack in lab.racks:
            took = lab.desk(rack.machine.office.name).pull(rack, image)
            lab.story.tell(f"{rack} pulled in {took:.1f} s")
        lab.measure("sent by the registry", lab.copies(image), "copies", at_most=3.005)
