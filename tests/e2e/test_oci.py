"""The pull side of the OCI distribution specification, byte by byte, through one node.

The list is that of the specification's own conformance suites (v1.1.1 and main), its read half:
every answer is held against what the registry was given.
"""

import json

from dray_e2e import images, proxy, registry, suite
from dray_e2e.stage import wait_for

REPO = "team/app"
RANGED = images.random_bytes(4000, "ranged")
# (Range, first, last) of the 4000 bytes; first None: 416; last None: ignored, the whole.
RANGES = [
    ("bytes=500-1499", 500, 1499),
    ("bytes=500-", 500, 3999),
    ("bytes=-500", 3500, 3999),
    ("bytes=2000-5000", 2000, 3999),
    ("bytes=0-0", 0, 0),
    ("bytes=3999-3999", 3999, 3999),
    ("bytes=-9999", 0, 3999),
    ("bytes=500-0", None, None),
    ("bytes=5000-10000", None, None),
    ("bytes=4000-", None, None),
    ("bytes=-0", None, None),
    ("bytes=abc", 0, None),
    ("items=0-1", 0, None),
]


class Oci(suite.Case):
    @classmethod
    def prepare(cls):
        cls.registry = registry.Registry(cls.stage)
        cls.image = cls.registry.push(REPO, "1", images.small("oci", images.OCI))
        cls.front = proxy.Proxy(cls.stage, cls.registry.url)
        cls.other = proxy.Proxy(cls.stage)
        cls.server = cls.node([{"name": "docker.io", "url": cls.front.url},
                               {"name": "other.example.org", "url": cls.other.url}])

    def push_blob(self, data):
        digest = images.digest_of(data)
        self.registry.push_blob(REPO, data, digest)
        return digest

    def ask(self, path, method="GET", headers=()):
        return self.server.get(path, method, headers)

    def check_error(self, answer, status, *codes):
        self.assertEqual(answer.status, status, answer.body)
        self.assertTrue(answer.header("content-type").startswith("application/json"))
        self.assertIn(answer.codes()[0], codes)

    # --- the registry's door ----------------------------------------------------------------------

    def test_ping(self):
        self.assertEqual(self.ask("/v2/").status, 200)

    # --- blobs ------------------------------------------------------------------------------------

    def settle(self, path):
        """Waits until a layer that was just served is sealed on the disk."""
        wait_for(lambda: self.ask(path).header("x-dray-source") == "store", 10, "the store", 0.01)

    def check_blob(self, digest, data, source=None):
        if source == "store":
            self.settle(f"/v2/{REPO}/blobs/{digest}")
        got = self.ask(f"/v2/{REPO}/blobs/{digest}")
        self.assertEqual(got.status, 200, got.body[:300])
        self.assertEqual(got.body, data)
        self.assertEqual(got.header("content-length"), str(len(data)))
        self.assertEqual(got.header("docker-content-digest"), digest)
        self.assertEqual(got.header("content-type"), "application/octet-stream")
        self.assertEqual(got.header("accept-ranges"), "bytes")
        self.assertIsNone(got.header("content-encoding"))
        self.assertEqual(got.header("x-dray-node"), "test-node")
        self.assertIn(got.header("x-dray-source"), [source] if source else ["origin", "stream"])

    def test_blob_cold_then_held(self):
        data = images.random_bytes(100_000, "cold")
        digest = self.push_blob(data)
        self.check_blob(digest, data)
        at = self.front.mark()
        self.check_blob(digest, data, "store")
        self.assertEqual(self.front.requests(since=at), [], "held and allowed: nobody is asked")

    def test_blob_head(self):
        for salt in ("never fetched", "fetched"):
            data = images.random_bytes(5000, salt)
            digest = self.push_blob(data)
            if salt == "fetched":
                self.check_blob(digest, data)
            got = self.ask(f"/v2/{REPO}/blobs/{digest}", "HEAD")
            self.assertEqual((got.status, got.body), (200, b""))
            self.assertEqual(got.header("content-length"), "5000")
            self.assertEqual(got.header("docker-content-digest"), digest)

    def test_blob_empty(self):
        digest = self.push_blob(b"")
        self.check_blob(digest, b"")
        self.check_blob(digest, b"", "store")

    def test_blob_missing(self):
        path = f"/v2/{REPO}/blobs/{images.digest_of(b'nowhere')}"
        got = self.ask(path)
        self.check_error(got, 404, "BLOB_UNKNOWN")
        self.assertEqual(got.body, self.registry._call("GET", path, []).body)
        self.assertEqual(self.ask(path, "HEAD").status, 404)

    def check_range(self, digest, value, first, last):
        got = self.ask(f"/v2/{REPO}/blobs/{digest}", headers=[("Range", value)])
        if first is None:
            self.assertEqual(got.status, 416)
            self.assertEqual(got.header("content-range"), "bytes */4000")
            return
        if last is None:
            self.assertEqual((got.status, got.body), (200, RANGED))
            return
        self.assertEqual((got.status, got.ended), (206, "full"))
        self.assertEqual(got.header("content-range"), f"bytes {first}-{last}/4000")
        self.assertEqual(got.header("content-length"), str(last - first + 1))
        self.assertEqual(got.body, RANGED[first:last + 1])

    def test_range_held(self):
        digest = self.push_blob(RANGED)
        self.check_blob(digest, RANGED)
        for value, first, last in RANGES:
            with self.subTest(value):
                self.check_range(digest, value, first, last)

    def test_range_cold(self):
        for value, first, last in RANGES:
            with self.subTest(value):
                # Another repository name cannot be used: the digest would be held. Other bytes are.
                data = images.random_bytes(4000, "cold" + value)
                digest = self.push_blob(data)
                got = self.ask(f"/v2/{REPO}/blobs/{digest}", headers=[("Range", value)])
                if first is None:
                    self.assertEqual(got.status, 416)
                elif last is None:
                    self.assertEqual((got.status, got.body), (200, data))
                else:
                    self.assertEqual(got.status, 206)
                    self.assertEqual(got.header("content-range"), f"bytes {first}-{last}/4000")
                    self.assertEqual(got.body, data[first:last + 1])

    # --- manifests --------------------------------------------------------------------------------

    def check_manifest(self, reference, image, method="GET"):
        got = self.ask(f"/v2/{REPO}/manifests/{reference}", method, images.MANIFEST_ACCEPT)
        self.assertEqual(got.status, 200, got.body)
        self.assertEqual(got.header("content-type"), image.media_type)
        self.assertEqual(got.header("content-length"), str(len(image.manifest)))
        self.assertEqual(got.header("docker-content-digest"), image.digest)
        self.assertEqual(got.body, image.manifest if method == "GET" else b"")

    def test_manifest(self):
        index = self.registry.push(REPO, "multi", images.Index(
            [images.tiny("one"), images.tiny("two", architecture="riscv64")]))
        for method in ("HEAD", "GET", "HEAD", "GET"):
            for reference, image in (("1", self.image), (self.image.digest, self.image),
                                     ("multi", index), (index.digest, index),
                                     (index.images[1].digest, index.images[1])):
                with self.subTest(f"{method} {reference}"):
                    self.check_manifest(reference, image, method)

    def test_manifest_by_digest_is_not_asked_again(self):
        self.check_manifest("1", self.image)
        self.check_manifest(self.image.digest, self.image)
        at = self.front.mark()
        self.check_manifest(self.image.digest, self.image)
        self.assertEqual(self.front.requests(since=at), [])

    def test_tag_is_always_asked_again(self):
        for salt in ("first", "second"):
            image = self.registry.push(REPO, "moving", images.tiny(salt))
            at = self.front.mark()
            self.check_manifest("moving", image)
            self.check_manifest("moving", image, "HEAD")
            self.assertEqual(len(self.front.requests(path="/manifests/moving", since=at)), 2)

    def test_every_accept_line_goes_upstream(self):
        at = self.front.mark()
        self.check_manifest("1", self.image)
        asked = self.front.requests(path="/manifests/1", since=at)[0]
        seen = [v.strip() for line in asked.all("accept") for v in line.split(",")]
        for _, kind in images.MANIFEST_ACCEPT:
            self.assertIn(kind, seen)

    def test_manifest_of_the_type_asked_for(self):
        """A manifest by tag is what this client accepts, not what the last one was given."""
        self.check_manifest("1", self.image)
        path, headers = f"/v2/{REPO}/manifests/1", [("Accept", images.DOCKER["manifest"])]
        want = self.registry._call("GET", path, headers)
        got = self.ask(path, headers=headers)
        self.assertEqual((got.status, got.body), (want.status, want.body))

    def test_manifest_missing(self):
        for reference in ("nosuchtag", images.digest_of(b"no manifest")):
            with self.subTest(reference):
                path = f"/v2/{REPO}/manifests/{reference}"
                got = self.ask(path, headers=images.MANIFEST_ACCEPT)
                self.check_error(got, 404, "MANIFEST_UNKNOWN")
                want = self.registry._call("GET", path, images.MANIFEST_ACCEPT)
                self.assertEqual(got.body, want.body)
        got = self.ask("/v2/no/such/repo/manifests/1", headers=images.MANIFEST_ACCEPT)
        self.check_error(got, 404, "NAME_UNKNOWN", "MANIFEST_UNKNOWN")

    # --- other digests ----------------------------------------------------------------------------

    def test_sha512(self):
        data = images.random_bytes(70_000, "sha512")
        digest = images.digest_of(data, "sha512")
        self.other.serve_blob("big/hash", data, digest)
        path = f"/v2/big/hash/blobs/{digest}?ns=other.example.org"
        for source in (("origin", "stream"), ("store",)):
            if source == ("store",):
                self.settle(path)
            got = self.ask(path)
            self.assertEqual((got.status, got.body), (200, data))
            self.assertEqual(got.header("docker-content-digest"), digest)
            self.assertIn(got.header("x-dray-source"), source)
        part = self.ask(path, headers=[("Range", "bytes=-10")])
        self.assertEqual((part.status, part.body), (206, data[-10:]))

    def test_malformed_references(self):
        at = self.front.mark()
        for path in (f"/v2/{REPO}/blobs/sha256:totallywrong", f"/v2/{REPO}/blobs/sha256:{'A' * 64}",
                     f"/v2/{REPO}/blobs/sha256:{'a' * 63}", f"/v2/{REPO}/blobs/md5:{'a' * 32}",
                     f"/v2/{REPO}/manifests/sha256:totallywrong", f"/v2/{REPO}/manifests/.hidden",
                     f"/v2/{REPO}/manifests/{'t' * 129}", "/v2/UPPER/manifests/1",
                     "/v2/a/../b/manifests/1", "/v2/a//b/manifests/1", "/v2/-a/manifests/1",
                     "/v2/a%2f..%2fb/manifests/1", "/v2/a%00b/manifests/1",
                     f"/v2/{'n' * 256}/manifests/1"):
            with self.subTest(path):
                got = self.ask(path)
                self.assertIn(got.status, (400, 404, 405))
                self.assertTrue(got.codes())
        self.assertEqual(self.front.requests(since=at), [], "nonsense is answered here")

    def test_pushes_are_refused_here(self):
        at = self.front.mark()
        for method, path in (("POST", f"/v2/{REPO}/blobs/uploads/"), ("PUT", f"/v2/{REPO}/manifests/1"),
                             ("DELETE", f"/v2/{REPO}/manifests/{self.image.digest}"),
                             ("PATCH", f"/v2/{REPO}/blobs/uploads/1"),
                             ("DELETE", f"/v2/{REPO}/blobs/{self.image.config_digest}")):
            with self.subTest(method):
                self.check_error(self.ask(path, method), 405, "UNSUPPORTED")
        self.assertEqual(self.front.requests(since=at), [])

    # --- passed through ---------------------------------------------------------------------------

    def test_tags(self):
        for tag in ("a", "b", "c"):
            self.registry.push("team/tags", tag, images.tiny("tags"))
        for query in ("", "?n=2", "?n=2&last=b", "?n=0", "?last=a"):
            with self.subTest(query):
                path = "/v2/team/tags/tags/list" + query
                want, got = self.registry._call("GET", path, []), self.ask(path)
                self.assertEqual((got.status, got.body, got.header("link")),
                                 (want.status, want.body, want.header("link")))
        self.assertEqual(self.ask("/v2/no/such/tags/list").status, 404)

    def test_referrers(self):
        index = json.dumps({"schemaVersion": 2, "mediaType": images.OCI["index"],
                            "manifests": []}).encode()
        path = f"/v2/big/hash/referrers/{self.image.digest}"
        self.other.serve(path, index, images.OCI["index"], [("OCI-Filters-Applied", "artifactType")])
        at = self.other.mark()
        got = self.ask(path + "?artifactType=example%2Fsig&ns=other.example.org")
        self.assertEqual((got.status, got.body), (200, index))
        self.assertEqual(got.header("content-type"), images.OCI["index"])
        self.assertEqual(got.header("oci-filters-applied"), "artifactType")
        asked = self.other.requests(path="/referrers/", since=at)[0]
        self.assertIn("artifactType=example%2Fsig", asked.query)
        # docker-registry 2.8 has no such endpoint, and says so itself.
        self.assertEqual(self.ask(f"/v2/{REPO}/referrers/{self.image.digest}").status, 404)

    # --- several upstreams ------------------------------------------------------------------------

    def test_ns_chooses_the_upstream(self):
        theirs = images.tiny("theirs")
        self.other.serve_manifest(REPO, "1", theirs)
        for ns in ("other.example.org", "other%2Eexample%2Eorg"):
            got = self.ask(f"/v2/{REPO}/manifests/1?ns={ns}", headers=images.MANIFEST_ACCEPT)
            self.assertEqual((got.status, got.body), (200, theirs.manifest))
        got = self.ask(f"/v2/{REPO}/manifests/1?ns=docker.io", headers=images.MANIFEST_ACCEPT)
        self.assertEqual(got.body, self.image.manifest)
        self.check_manifest("1", self.image)

    def test_unknown_ns(self):
        marks = self.front.mark(), self.other.mark()
        got = self.ask(f"/v2/{REPO}/manifests/1?ns=unknown.example.org")
        self.assertIn(got.status, (400, 404))
        self.assertTrue(got.codes())
        self.assertEqual((self.front.mark(), self.other.mark()), marks, "nobody was asked")

    def test_one_store_for_all_upstreams(self):
        """Bytes held from one upstream are not fetched from another, which is asked for permission."""
        data = images.random_bytes(30_000, "shared")
        digest = self.push_blob(data)
        self.check_blob(digest, data)
        path = f"/v2/big/hash/blobs/{digest}?ns=other.example.org"
        self.assertEqual(self.ask(path).status, 404, "the other one does not have it")
        self.other.serve_blob("big/hash", data, digest)
        at = self.other.mark()
        got = self.ask(path)
        self.assertEqual((got.status, got.body), (200, data))
        self.assertTrue(self.other.requests(path="/blobs/", since=at), "its permission was asked")
        self.assertEqual(self.other.fetches(digest, at), [])


if __name__ == "__main__":
    suite.main()
