"""A layer that any node of the region holds comes from there: what clients, the registry's log and the
nodes themselves say of it. And who may not have it is told so, whoever holds it.
"""

import time

from dray_e2e import certs, clients, images, proxy, registry, suite, tokens, wire
from dray_e2e.node import SANITIZED
from dray_e2e.racks import Region, audit, events, fetched, why

REPO = "team/app"
MIB = 1 << 20


def pull(node, repository, reference, headers=()):
    """As a client does: the manifest, then each blob. {digest: answer}."""
    headers = list(headers)
    got = node.get(f"/v2/{repository}/manifests/{reference}",
                   headers=headers + images.MANIFEST_ACCEPT)
    if got.status != 200:
        return {reference: got}
    document = got.json()
    return {d["digest"]: node.blob(repository, d["digest"], headers)
            for d in [document["config"], *document["layers"]]}


class Racks(suite.Case):
    """Three racks before a real registry."""

    @classmethod
    def prepare(cls):
        cls.registry = registry.Registry(cls.stage)
        cls.region = Region(cls, cls.registry.url, 3)

    def layer_bytes(self, image):
        """Bytes of this image's layers that left the registry."""
        return sum(row["bytes"] for row in self.registry.access()
                   if row["method"] == "GET" and any(d in row["path"] for d in image.blobs()))

    def check(self, image, got, source):
        self.assertEqual(set(got), set(image.blobs()))
        for digest, data in image.blobs().items():
            self.assertEqual((got[digest].status, got[digest].body == data), (200, True), digest)
            self.assertEqual(got[digest].header("x-dray-source"), source, digest)

    def test_first_from_the_registry_then_from_peers(self):
        image = self.registry.push(REPO, "racks", images.small("racks"))
        size = sum(len(data) for data in image.blobs().values())
        a, b, c = self.region
        before = [fetched(n, s) for n in (b, c) for s in ("peer", "origin")]
        self.check(image, pull(a, REPO, "racks"), "origin")
        self.assertEqual(self.layer_bytes(image), size)
        self.region.wait_image_known(image, b, [a])
        self.check(image, pull(b, REPO, "racks"), "peer")
        self.region.wait_image_known(image, c, [a, b])
        self.check(image, pull(c, REPO, "racks"), "peer")
        self.check(image, pull(c, REPO, "racks"), "store")
        self.assertEqual(self.layer_bytes(image), size, "one copy left the registry")
        after = [fetched(n, s) for n in (b, c) for s in ("peer", "origin")]
        grown = [now - then for now, then in zip(after, before)]
        self.assertEqual(grown[1::2], [0, 0])
        for got in grown[::2]:  # the last pieces may be asked of two
            self.assertTrue(size <= got <= 1.5 * size, grown)
        digest = image.layer_digests[0]
        self.assertRegex(dict(events(b, digest))["pieces"], r"^0 of the registry.* of rack-0")
        line = [row for row in audit(b) if row["digest"] == digest][0]
        self.assertEqual((line["source"], line["outcome"]), ("peer", "done"))
        code, out, err = b.command("why", digest)
        self.assertEqual(code, 0, err)
        self.assertIn("of rack-0", out)

    def test_a_real_client(self):
        image = self.registry.push(REPO, "skopeo", images.small("skopeo"))
        name = f"docker.io/{REPO}:skopeo"
        skopeo = clients.Skopeo(self.stage)
        a, b, _ = self.region
        for node in (a, b):
            done, folder = skopeo.copy(name, mirror=node.host)
            done.must()
            skopeo.verify(folder, image)
            self.region.wait_image_known(image, b, [a])
        size = sum(len(data) for data in image.blobs().values())
        self.assertEqual(self.layer_bytes(image), size)

    def test_not_in_the_manifest(self):
        """A layer whose size nothing told: the registry is asked for one byte, a peer for the rest."""
        data = images.random_bytes(MIB, self.id())
        digest = images.digest_of(data)
        self.registry.push_blob(REPO, data, digest)
        a, b, _ = self.region
        self.assertEqual(a.blob(REPO, digest).body, data)
        self.region.wait_known(digest, b, [a])
        got = b.blob(REPO, digest)
        self.assertEqual((got.status, got.body == data, got.header("x-dray-source")),
                         (200, True, "peer"))
        rows = [r["bytes"] for r in self.registry.access()
                if r["method"] == "GET" and digest in r["path"]]
        self.assertEqual(sorted(rows), [1, 1, MIB], "each user's question, and one copy")

    def test_ranges(self):
        data = images.random_bytes(3 * MIB, self.id())
        digest = images.digest_of(data)
        self.registry.push_blob(REPO, data, digest)
        a, b, _ = self.region
        self.assertEqual(a.blob(REPO, digest).body, data)
        self.region.wait_known(digest, b, [a])
        got = b.blob(REPO, digest, [("Range", f"bytes={MIB}-{MIB + 9}")])
        self.assertEqual((got.status, got.body), (206, data[MIB:MIB + 10]))
        self.assertEqual(got.header("content-range"), f"bytes {MIB}-{MIB + 9}/{3 * MIB}")


class Sixteen(suite.Case):
    def test_one_copy_for_sixteen_racks(self):
        centre = registry.Registry(self.stage)
        region = Region(self, centre.url, 6 if SANITIZED else 16)
        image = centre.push(REPO, "1", images.small("sixteen"))
        size = sum(len(data) for data in image.blobs().values())
        for i, node in enumerate(region):
            if i:
                region.wait_image_known(image, node, region.nodes[:1])
            for digest, got in pull(node, REPO, "1").items():
                self.assertEqual((got.status, images.digest_of(got.body)), (200, digest))
        copies = sum(row["bytes"] for row in centre.access() if row["method"] == "GET"
                     and any(d in row["path"] for d in image.blobs())) / size
        print(f"registry bytes: {copies:.2f} copies for {len(region.nodes)} racks")
        self.assertAlmostEqual(copies, 1.0, places=2)


class Sealed(suite.Case):
    """TLS between peers, and what is not from a peer."""

    @classmethod
    def prepare(cls):
        cls.authority = certs.Authority(cls.stage.dir("ca"))
        cls.upstream = proxy.Proxy(cls.stage)
        cls.region = Region(cls, cls.upstream.url, 2, tls=cls.authority.server("racks"),
                            ca=cls.authority.ca)
        cls.data = images.random_bytes(2 * MIB, "sealed")
        cls.digest = images.digest_of(cls.data)
        cls.upstream.serve_blob(REPO, cls.data, cls.digest)

    def test_over_tls(self):
        a, b = self.region
        self.assertEqual(a.blob(REPO, self.digest).body, self.data)
        self.region.wait_known(self.digest, b, [a])
        got = b.blob(REPO, self.digest)
        self.assertEqual((got.status, got.body == self.data, got.header("x-dray-source")),
                         (200, True, "peer"))
        self.assertEqual(len(self.upstream.fetches(self.digest)), 1)

    def test_who_is_no_peer(self):
        a = self.region[0]
        path = f"/mesh/v1/blobs/{self.digest}"
        before = a.metrics().get('dray_dropped_total{reason="peer_denied"}', 0)
        for headers in ([], [("Dray-Peer", "")], [("Dray-Peer", "A" * 300)],
                        [("Dray-Peer", "A" * 5000)]):
            for held in (path, path[:-1] + ("0" if path[-1] != "0" else "1")):
                self.assertEqual(a.get(held, headers=headers).status, 403, headers)
        after = a.metrics()['dray_dropped_total{reason="peer_denied"}']
        self.assertEqual(after - before, 8)
        self.assertEqual(a.get(path, "POST", body=b"x").status, 405)


class Rights(suite.Case):
    """Who may have a layer is the registry's word alone, whoever holds it."""

    USERS = {"alice": ("a-pw", {"team/app": {"pull"}}), "bob": ("b-pw", {"team/bob": {"pull"}})}

    @classmethod
    def prepare(cls):
        cls.tokens = tokens.TokenServer(cls.stage, cls.USERS)
        cls.registry = registry.Registry(cls.stage, cls.tokens)
        cls.front = proxy.Proxy(cls.stage, cls.registry.url)
        cls.region = Region(cls, cls.front.url, 2)
        cls.image = cls.registry.push(REPO, "1", images.tiny("rights"))
        cls.bobs = cls.registry.push("team/bob", "1", images.tiny("bobs"))
        cls.digest = cls.image.layer_digests[0]
        a, b = cls.region
        for got in pull(a, REPO, "1", cls.login("alice", REPO)).values():
            assert got.status == 200, got.body
        cls.region.wait_image_known(cls.image, b, [a])

    @classmethod
    def login(cls, user, repository):
        headers = [("Authorization", wire.basic(user, cls.USERS[user][0]))]
        got = wire.fetch(f"{cls.tokens.realm}?service={tokens.SERVICE}"
                         f"&scope=repository:{repository}:pull", headers=headers)
        return [("Authorization", "Bearer " + got.json()["token"])]

    def refused(self, repository, digest, headers):
        """The node's answer is the registry's own, and no peer is asked."""
        b = self.region[1]
        before = b.metrics().get('dray_peer_requests_total{outcome="worked"}', 0)
        own = wire.fetch(f"{self.registry.url}/v2/{repository}/blobs/{digest}", headers=headers)
        mark = self.front.mark()
        got = b.blob(repository, digest, headers)
        self.assertIn(own.status, (401, 403, 404))
        self.assertEqual((got.status, got.body), (own.status, own.body))
        self.assertEqual(got.header("www-authenticate"), own.header("www-authenticate"))
        self.assertEqual(len(self.front.requests(since=mark)), 1, "one question, held or not")
        self.assertEqual(b.metrics().get('dray_peer_requests_total{outcome="worked"}', 0), before)
        self.assertFalse(b.held(digest))

    def test_a_refused_user(self):
        self.refused(REPO, self.digest, [])
        self.refused(REPO, self.digest, self.login("bob", "team/bob"))
        self.refused(REPO, images.digest_of(b"nobody holds this"), self.login("bob", "team/bob"))

    def test_a_layer_of_another_repository(self):
        """Bob may pull his own; that a peer holds Alice's opens nothing."""
        self.refused("team/bob", self.digest, self.login("bob", "team/bob"))

    def test_the_permitted_one_gets_it_from_the_peer(self):
        b = self.region[1]
        digest = self.image.config_digest
        self.refused(REPO, digest, [])
        got = b.blob(REPO, digest, self.login("alice", REPO))
        self.assertEqual((got.status, got.header("x-dray-source")), (200, "peer"))


class Away(suite.Case):
    """The registry is gone, the user was permitted lately: peers serve."""

    def test_grace(self):
        centre = registry.Registry(self.stage)
        region = Region(self, centre.url, 2, authz={"ttl": "1s", "grace": "1h"})
        image = centre.push(REPO, "1", images.small("grace"))
        a, b = region
        pull(a, REPO, "1")
        region.wait_image_known(image, b, [a])
        manifest = b.get(f"/v2/{REPO}/manifests/1", headers=images.MANIFEST_ACCEPT)
        self.assertEqual(manifest.status, 200)
        centre.stop()
        time.sleep(1.2)
        for digest, got in pull(b, REPO, "1").items():
            self.assertEqual((got.status, got.header("x-dray-source")), (200, "peer"), digest)
            self.assertEqual(images.digest_of(got.body), digest)
        stranger = b.blob("team/other", image.layer_digests[0])
        self.assertEqual(stranger.status, 503)


if __name__ == "__main__":
    suite.main()
