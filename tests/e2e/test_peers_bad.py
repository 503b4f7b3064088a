"""Peers that are killed, frozen, busy, slow or lying: the client gets its layer all the same.

A peer that lies holds the mesh key and is a member: a real node, whose address as others know it leads
through a proxy that changes what it says.
"""

import hashlib
import json
import signal

from dray_e2e import images, proxy, relay, suite, wire
from dray_e2e.readers import Reader
from dray_e2e.racks import Region, events, fetched, why
from dray_e2e.stage import wait_for

REPO = "team/app"
MIB = 1 << 20


class BadPeers(suite.Case):
    """Rack 0 asks; racks 1 and 2 hold. The fake registry serves only what is asked of it."""

    limits = {}

    def region(self, count=3, behind=(), **config):
        """`behind`: indexes of nodes that others reach through a proxy; self.fronts holds them."""
        self.upstream = proxy.Proxy(self.stage)
        self.racks = Region(self, self.upstream.url, count, start=False, **config)
        self.fronts = {}
        for i in behind:
            node = self.racks[i]
            front = proxy.Proxy(self.stage, node.url)
            node.advertised = node.config["advertise"] = front.host
            node.write_config()
            relay.Relay(self.stage, front.port, node.port)
            self.fronts[i] = front
        for node in self.racks:
            node.start(wait=False)
        self.racks.wait_joined()
        return self.racks.nodes

    def layer(self, size=8 * MIB, salt=""):
        data = images.random_bytes(size, self.id() + salt)
        digest = images.digest_of(data)
        self.upstream.serve_blob(REPO, data, digest)
        return data, digest, f"/v2/{REPO}/blobs/{digest}"

    def hold(self, digest, data, holders):
        """These nodes get it, one after the other, and rack 0 knows."""
        for node in holders:
            got = node.blob(REPO, digest)
            self.assertEqual((got.status, got.body == data), (200, True))
        self.racks.wait_known(digest, self.racks[0], holders)
        self.mark = self.upstream.mark()

    def check(self, reader, digest, fetches=0):
        reader.finish()
        self.assertEqual((reader.status, reader.ended), (200, "full"), reader)
        self.assertEqual(reader.digest, digest)
        if fetches is not None:
            self.assertEqual(len(self.upstream.fetches(digest, self.mark)), fetches,
                             events(self.racks[0], digest))

    def asked(self, asker, digest):
        """Which of the nodes it fetches from right now."""
        fetch = why(asker, digest)["fetch"] or {}
        peer = fetch.get("peer") or ""  # null between two of them
        names = [n for n in self.racks if n.config["name"] == peer]
        if not names and peer.startswith("peer-"):
            names = [self.racks[int(peer[5:]) - 1]]
        return names[0] if names and fetch["received_bytes"] > MIB else None


class Gone(BadPeers):
    """Holders send no more than 4 MiB/s, so that one can be caught half way."""

    def begin(self):
        nodes = self.region(limits={"upload": "1536KiB/s"})  # for a second or two
        data, digest, path = self.layer()
        self.hold(digest, data, nodes[1:])
        reader = Reader(nodes[0], path)
        source = wait_for(lambda: self.asked(nodes[0], digest), 20, "a peer half way")
        return nodes, digest, reader, source

    def test_killed(self):
        nodes, digest, reader, source = self.begin()
        source.kill()
        self.check(reader, digest)
        self.assertGreater(fetched(nodes[0], "peer"), 7 * MIB)

    def test_frozen(self):
        nodes, digest, reader, source = self.begin()
        source.process.signal(signal.SIGSTOP)
        try:
            self.check(reader, digest)
        finally:
            source.process.signal(signal.SIGCONT)
        self.assertGreater(fetched(nodes[0], "peer"), 7 * MIB)

    def test_all_of_them(self):
        """Nobody of the region is left: the registry gives the rest, not the whole."""
        nodes, digest, reader, source = self.begin()
        for node in nodes[1:]:
            node.kill()
        self.check(reader, digest, fetches=None)
        rest = self.upstream.fetches(digest, self.mark)
        self.assertLess(sum(r.sent for r in rest), 8 * MIB, rest)
        self.assertTrue(source)


class Lying(BadPeers):
    """Rack 1 is the only holder, and behind a proxy."""

    @classmethod
    def prepare(cls):
        cls.made = None

    def setUp(self):
        if not type(self).made:
            self.region(2, behind=[1])
            type(self).made = (self.upstream, self.racks, self.fronts)
        self.upstream, self.racks, self.fronts = type(self).made
        self.front = self.fronts[1]
        self.front.clear()

    def hold_one(self, size, salt=""):
        data, digest, path = self.layer(size, salt)
        self.hold(digest, data, [self.racks[1]])
        return data, digest, path

    def metric(self, name):
        return self.racks[0].metrics().get(name, 0)

    def test_honest_through_the_proxy(self):
        _, digest, path = self.hold_one(MIB)
        self.check(Reader(self.racks[0], path), digest)
        self.assertGreaterEqual(len(self.front.requests(path=digest)), 1)

    def test_a_replay_is_refused(self):
        _, digest, path = self.hold_one(MIB)
        self.check(Reader(self.racks[0], path), digest)
        record = self.front.requests(path=digest)[-1]
        headers = [(n, v) for n, v in record.headers if n == "Dray-Peer"]
        self.assertEqual(len(headers), 1)
        got = wire.fetch(self.racks[1].url + record.target, headers=headers)
        self.assertEqual(got.status, 403)
        other = record.target[:-4] + "0000"
        self.assertEqual(wire.fetch(self.racks[1].url + other, headers=headers).status, 403)

    def wrong_length(self, action):
        _, digest, path = self.hold_one(MIB)
        self.front.add(action, path=digest)
        self.check(Reader(self.racks[0], path), digest, fetches=1)
        self.assertIn("lied", json.dumps(events(self.racks[0], digest, "peer")))

    def test_too_short(self):
        self.wrong_length(proxy.lie(MIB - 1))

    def test_too_long(self):
        self.wrong_length(proxy.flood(MIB + 1, "application/octet-stream"))

    def test_endless(self):
        self.wrong_length(proxy.flood(1 << 40, "application/octet-stream", stated=False))

    def test_breaks_off_each_time(self):
        _, digest, path = self.hold_one(4 * MIB)
        self.front.add(proxy.cut(MIB), path=digest)
        self.check(Reader(self.racks[0], path), digest, fetches=0)

    def test_slow(self):
        """Too slow for anybody: the registry takes over at the same byte."""
        _, digest, path = self.hold_one(2 * MIB)
        self.front.add(proxy.paced(20000), path=digest)
        self.check(Reader(self.racks[0], path), digest, fetches=1)

    def test_silent(self):
        _, digest, path = self.hold_one(MIB)
        self.front.add(proxy.silence(), path=digest)
        self.check(Reader(self.racks[0], path), digest, fetches=1)


class Wrong(BadPeers):
    """Bytes that are not the layer, of the right number. Who sent them is not asked again for a while:
    a region for each test."""

    def begin(self, size):
        nodes = self.region(2, behind=[1])
        data, digest, path = self.layer(size)
        self.hold(digest, data, nodes[1:])
        self.fronts[1].add(proxy.corrupt(50_000), path=digest)  # in every answer
        return nodes[0], data, digest, path

    def convicted(self, node):
        rows = {k: v for k, v in node.metrics().items() if k.startswith("dray_bad_pieces_total")}
        self.assertEqual(list(rows.values()), [1.0], rows)

    def test_a_large_layer(self):
        """No piece counts before it is verified: nobody notices, and the liar is left alone."""
        node, data, digest, path = self.begin(4 * MIB)
        self.check(Reader(node, path), digest, fetches=None)
        self.convicted(node)
        asked = len(self.fronts[1].requests(path="/mesh/v1/blobs/"))
        _, other, _ = self.layer(MIB, "other")
        self.assertEqual(self.racks[1].blob(REPO, other).status, 200)
        got = node.blob(REPO, other)
        self.assertEqual((got.status, got.header("x-dray-source")), (200, "origin"))
        self.assertEqual(len(self.fronts[1].requests(path="/mesh/v1/blobs/")), asked)

    def test_a_small_layer(self):
        """It is answered when it is verified: nobody notices."""
        node, data, digest, path = self.begin(100 << 10)
        self.check(Reader(node, path), digest, fetches=1)
        self.convicted(node)
        self.assertEqual(hashlib.sha256(data).hexdigest(), digest[7:])


class Busy(BadPeers):
    def test_another_peer(self):
        nodes = self.region(3, behind=[1, 2])
        data, digest, path = self.layer(2 * MIB)
        self.hold(digest, data, nodes[1:])
        turn = [0]

        def first(record):
            turn[0] += 1
            return turn[0] == 1
        for front in self.fronts.values():
            front.add(proxy.status(503, b"busy\n", [("Retry-After", "60")]), path=digest,
                      when=first)
        self.check(Reader(nodes[0], path), digest)
        self.assertIn("busy", json.dumps(events(nodes[0], digest, "peer")))

    def test_waits_rather_than_asks_the_registry(self):
        """One holder, one stream at a time: the second asker waits for its turn."""
        nodes = self.region(3, limits={"upload": "400KiB/s"})
        data, digest, path = self.layer(2 * MIB)
        self.hold(digest, data, nodes[1:2])
        self.racks.wait_known(digest, nodes[2], nodes[1:2])
        readers = [Reader(nodes[0], path), Reader(nodes[2], path)]
        for reader in readers:
            reader.finish()
            self.assertEqual((reader.status, reader.ended, reader.digest), (200, "full", digest))
        self.assertEqual(self.upstream.fetches(digest, self.mark), [],
                         [events(n, digest) for n in (nodes[0], nodes[2])])
        self.assertGreater(nodes[1].metric("dray_peer_busy_total"), 0)


if __name__ == "__main__":
    suite.main()
