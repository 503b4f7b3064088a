"""A cold layer that everybody wants at once: pieces from each other, one copy from the registry; and
what happens when the node that reads it for all dies, freezes, or lies.
"""

import re
import signal
import time

from dray_e2e import images, proxy, suite
from dray_e2e.node import SANITIZED
from dray_e2e.readers import Reader
from dray_e2e.racks import Region, events, fetched, why
from dray_e2e.stage import wait_for

REPO = "team/app"
MIB = 1 << 20
COUNT = 5
PATIENCE_S = 90 if SANITIZED else 45


class Swarm(suite.Case):
    """Racks 0 to 4 before a registry at the end of a thin line."""

    def region(self, count=COUNT, size=16 * MIB, mib_per_s=8, **config):
        self.upstream = proxy.Proxy(self.stage)
        self.upstream.pace = proxy.Pace(mib_per_s * MIB)
        self.racks = Region(self, self.upstream.url, count, **config)
        self.data = images.random_bytes(size, self.id())
        self.digest = images.digest_of(self.data)
        self.path = f"/v2/{REPO}/blobs/{self.digest}"
        self.upstream.serve_blob(REPO, self.data, self.digest)
        return self.racks.nodes

    def sent(self):
        """Bytes of the layer that left the registry; questions for one byte left out."""
        return sum(r.sent for r in self.upstream.fetches(self.digest) if r.sent > 1)

    def check(self, readers):
        for reader in readers:
            reader.finish(PATIENCE_S)
            self.assertEqual((reader.status, reader.ended), (200, "full"),
                             (reader, events(reader.node, self.digest)))
            self.assertEqual(reader.digest, self.digest)

    def fetcher(self):
        """The node that reads it for the region, while it does."""
        for node in self.racks:
            if node.process.running():
                fetch = why(node, self.digest)["fetch"] or {}
                if fetch.get("appointed"):
                    return node
        return None

    def fetcher_half_way(self):
        found = []

        def half():
            node = self.fetcher()
            if node and self.sent() > len(self.data) // 3:
                found.append(node)
            return found
        wait_for(half, PATIENCE_S, "somebody reads it for the region")
        return found[0]


class Together(Swarm):
    def test_all_at_once_is_one_copy(self):
        nodes = self.region()
        self.check([Reader(n, self.path, timeout=PATIENCE_S) for n in nodes])
        for node in nodes:
            wait_for(lambda n=node: n.held(self.digest), PATIENCE_S, "the layer is held")
        self.assertEqual(self.sent(), len(self.data), [r for r in self.upstream.fetches(self.digest)])
        self.assertEqual(sum(fetched(n, "origin") for n in nodes), len(self.data))
        self.assertGreaterEqual(sum(fetched(n, "peer") for n in nodes), 4 * len(self.data))

    def test_a_late_one_is_seeded(self):
        """Whoever comes when others hold it gets pieces of them, and nothing from the registry."""
        nodes = self.region(mib_per_s=64)
        self.check([Reader(nodes[1], self.path, timeout=PATIENCE_S)])
        self.racks.wait_known(self.digest, nodes[3], [nodes[1]])
        before = self.sent()
        self.check([Reader(nodes[3], self.path, timeout=PATIENCE_S)])
        self.assertEqual(self.sent(), before)
        self.assertGreaterEqual(fetched(nodes[3], "peer"), len(self.data))

    def test_small_layers(self):
        nodes = self.region(size=100_000)
        self.check([Reader(n, self.path, timeout=PATIENCE_S) for n in nodes])
        self.assertEqual(self.sent(), len(self.data))


class Trouble(Swarm):
    def test_the_fetcher_is_killed(self):
        nodes = self.region(mib_per_s=4)
        readers = [Reader(n, self.path, timeout=PATIENCE_S) for n in nodes]
        gone = self.fetcher_half_way()
        gone.kill()
        self.check([r for r in readers if r.node is not gone])
        self.assertLess(self.sent(), 1.5 * len(self.data))
        # and it goes on with what it has
        gone.start()
        self.racks.wait_joined()
        self.check([Reader(gone, self.path, timeout=PATIENCE_S)])
        made_of = events(gone, self.digest, "pieces")[-1][1]
        self.assertGreaterEqual(int(re.search(r"(\d+) were here", made_of)[1]), 8, made_of)

    def test_the_fetcher_is_frozen(self):
        nodes = self.region(mib_per_s=4)
        readers = [Reader(n, self.path, timeout=PATIENCE_S) for n in nodes]
        frozen = self.fetcher_half_way()
        frozen.process.signal(signal.SIGSTOP)
        try:
            self.check([r for r in readers if r.node is not frozen])
        finally:
            frozen.process.signal(signal.SIGCONT)
        self.check(readers)

    def test_the_registry_goes_away_and_comes_back(self):
        nodes = self.region(mib_per_s=4)
        readers = [Reader(n, self.path, timeout=PATIENCE_S) for n in nodes]
        self.fetcher_half_way()
        self.upstream.down()
        time.sleep(1)
        self.upstream.up()
        self.check(readers)


if __name__ == "__main__":
    suite.main()
