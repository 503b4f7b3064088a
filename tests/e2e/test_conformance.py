"""The OCI checks of tests/conformance at the registry itself, through a tracker, and at a node."""

import json
import os
import subprocess
import sys

from dray_e2e import node as nodes_path
from dray_e2e import region, registry, suite, tracker
from dray_e2e.stage import wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "conformance"))
import conformance  # noqa: E402


class Conformance(suite.Case):
    def test_the_same_verdict_everywhere(self):
        centre = registry.Registry(self.stage)
        key, pub = (f"{self.stage.path}/ticket{end}" for end in (".key", ".pub"))
        subprocess.run([nodes_path.PROGRAM, "keygen", "ticket", key, pub], check=True,
                       capture_output=True)
        place = region.Region(self, [{"name": centre.url.split("//")[1], "url": centre.url}],
                              region="office", tracker_key=pub)
        place.start(2)
        front = tracker.Tracker(
            self.stage, centre.url, mesh_key=place.key_file, ticket_key=key,
            regions=[{"name": "office", "seeds": [place.nodes[0].host]}])
        self.nodes.append(front)

        def known():
            found = json.loads(front.admin("GET", "/api/v1/caches").body)["caches"]
            return sum(c["fit"] for c in found) == 2
        wait_for(known, what="two nodes known")
        columns = [conformance.Column("registry", centre.url),
                   conformance.Column("tracker", front.url),
                   conformance.Column("node", place.nodes[0].url, pull_only=True)]
        rows, notes = conformance.run(columns, "conformance/checks", self.id())
        print("", conformance.table(columns, rows), "", *notes, "", conformance.summary(rows), sep="\n",
              flush=True)
        self.assertEqual(conformance.differing(rows)[1], [])
        self.assertGreater(front.metric("dray_redirects_total"), 10, "layers came by redirect")


if __name__ == "__main__":
    suite.main()
