"""A cold layer that everybody wants at once: pieces from each other, one copy from the registry; and
what happens when the node that reads it for all dies, freezes, or lies.
"""

import re
import signal
import sys
import threading
import time

from dray_e2e import images, proxy, relay, suite
from dray_e2e.node import SANITIZED
from dray_e2e.readers import Reader
from dray_e2e.racks import Region, events, fetched, why
from dray_e2e.stage import wait_for

REPO = "team/app"
MIB = 1 << 20
PIECE = 256 << 10  # of layers of up to 64 MiB
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


class Limits(Swarm):
    LIMIT = MIB

    def appointed(self, digests):
        return {n for n in self.racks for d in digests
                if (why(n, d)["fetch"] or {}).get("appointed")}

    def shares(self, nodes):
        return [n.metric("dray_wan_share_bytes") for n in nodes]

    def test_the_wan_limit_is_the_regions(self):
        """Nodes that read different layers at once divide it, and have it back afterwards."""
        nodes = self.region(count=3, mib_per_s=64, limits={"wan": f"{self.LIMIT >> 20}MiB/s"})
        digests, readers = [], []
        while len(self.appointed(digests)) < 2:
            self.assertLess(len(digests), 12, "always the same one is appointed")
            data = images.random_bytes(8 * MIB, f"{self.id()} {len(digests)}")
            digests.append(images.digest_of(data))
            self.upstream.serve_blob(REPO, data, digests[-1])
            readers.append(Reader(nodes[len(digests) % 3], f"/v2/{REPO}/blobs/{digests[-1]}",
                                  timeout=2 * PATIENCE_S))
            wait_for(lambda: why(nodes[len(digests) % 3], digests[-1])["fetch"] and
                     any((why(n, digests[-1])["fetch"] or {}).get("appointed") for n in nodes),
                     PATIENCE_S, "somebody reads it")

        def divided():
            reading = self.appointed(digests)
            return len(reading) > 1 and sum(self.shares(reading)) <= self.LIMIT
        wait_for(divided, PATIENCE_S, "they divide the limit")
        for reader in readers:
            reader.finish(2 * PATIENCE_S)
            self.assertEqual((reader.status, reader.ended), (200, "full"), reader)
        wait_for(lambda: self.shares(nodes) == [self.LIMIT] * 3, PATIENCE_S, "it is whole again")


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
        here = int(re.search(r"(\d+) were here", made_of)[1])
        self.assertGreaterEqual(here, 8, made_of)
        lacked = len(self.data) // PIECE - here
        sys.stderr.write(f"lacked {lacked} pieces, got {fetched(gone, 'peer') / PIECE:.1f} of peers, "
                         f"{fetched(gone, 'origin') / PIECE:.1f} of the registry ... ")

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


class Liars(Swarm):
    """Who reads for all is lied to by its own way to the registry, or lies to its neighbours. Which one
    that will be nobody knows before; all others are honest."""

    def lied_to(self, at, size=8 * MIB, mib_per_s=4, count=COUNT):
        """Each rack has its own way to the registry; that of the first to read the layer flips a bit."""
        self.region(count, size, mib_per_s, start=False)
        self.liar = []
        for node in self.racks:
            way = proxy.Proxy(self.stage, self.upstream.url)
            way.add(proxy.corrupt(at), path=self.digest, when=lambda r, n=node: self.lies(n, r))
            node.config["upstreams"][0]["url"] = way.url
            node.write_config()
            node.start(wait=False)
        self.racks.wait_joined()
        return self.racks.nodes

    def region_behind_fronts(self, size=8 * MIB, mib_per_s=4):
        """Others reach each rack through a proxy; that of whoever reads the layer flips a bit."""
        self.region(COUNT, size, mib_per_s, start=False)
        self.liar = []
        for node in self.racks:
            front = proxy.Proxy(self.stage, node.url)
            front.add(proxy.corrupt(1000), path=self.digest,
                      when=lambda r, n=node: self.fetcher_lies(n))
            node.config["advertise"] = front.host
            node.write_config()
            relay.Relay(self.stage, front.port, node.port)
            node.start(wait=False)
        self.racks.wait_joined()

    def fetcher_lies(self, node):
        if not self.liar:
            self.liar += [n for n in [self.fetcher()] if n]
        return self.liar[:1] == [node]

    def lies(self, node, record):
        if not self.liar and record.range != "bytes=0-0":
            self.liar.append(node)
        return self.liar[:1] == [node] and record.range != "bytes=0-0"

    def pull_all(self, nodes):
        """As clients do that are cut: each tries until it has the layer. Seconds until all do."""
        began, threads = time.monotonic(), []

        def pull(node):
            while time.monotonic() - began < PATIENCE_S:
                reader = Reader(node, self.path, timeout=PATIENCE_S).finish(PATIENCE_S)
                if reader.ended == "full":
                    done.append((node, reader.status, reader.digest))
                    return
        done = []
        for node in nodes:
            threads.append(threading.Thread(target=pull, args=[node], daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(2 * PATIENCE_S)
        self.assertEqual({n.label for n, _, _ in done}, {n.label for n in nodes},
                         [(n.label, events(n, self.digest)) for n in nodes])
        for _, status, digest in done:
            self.assertEqual((status, digest), (200, self.digest))
        return time.monotonic() - began

    def test_the_fetchers_registry_lies(self):
        nodes = self.lied_to(at=3 * MIB)
        took = self.pull_all(nodes)
        for node in nodes:
            wait_for(lambda n=node: n.held(self.digest), PATIENCE_S, "the layer is held")
        self.check_costs(nodes)
        self.story("lied to by its registry", took)

    def check_costs(self, nodes):
        """Two are appointed and read it whole: who is lied to or lies, and an honest one after it; everybody
        may read a piece, and another, to decide between two chains: 2.1 copies. On a busy machine a lease
        may lapse (a second without a word from its holder): one more is appointed. Somebody may wait in
        vain and read what it lacks, and who is lied to may try again for a client that does. All this is
        told of; nothing else costs anything."""
        def told(kind):
            return [detail for n in nodes for _, detail in events(n, self.digest, kind)]
        left = [re.match(r"left with (\d+) of (\d+) pieces", detail) for detail in told("swarm")]
        lacked = sum(int(hit[2]) - int(hit[1]) for hit in left if hit)
        reads = max(2, len(told("appointed"))) + max(0, len(told("given up")) - 1)
        self.assertLessEqual(self.sent(), reads * len(self.data) + (2 * COUNT + lacked) * PIECE,
                             (reads, lacked,
                              [(r.range, r.sent) for r in self.upstream.fetches(self.digest)]))
        liar = self.liar[0].config["name"]
        blamed = [e for n in nodes for e in events(n, self.digest, "convicted")]
        self.assertEqual([e for e in blamed if not e[1].startswith(liar + " ")], [], liar)
        self.assertTrue(blamed)

    def story(self, what, took):
        sys.stderr.write(f"{what}: {took:.1f} s, {self.sent() / len(self.data):.2f} copies ... ")

    def test_the_fetcher_lies_about_its_pieces(self):
        """Its chain is right, what it sends to others is not."""
        self.region_behind_fronts()
        took = self.pull_all(self.racks.nodes)
        self.assertTrue(self.liar)
        self.check_costs(self.racks.nodes)
        self.story("sends wrong pieces", took)


if __name__ == "__main__":
    suite.main()
