"""dray-node prefetch: an image is brought to a node, or to all of a region, ahead of a rollout."""

import json

from dray_e2e import images, proxy, region, registry, suite
from dray_e2e.stage import wait_for

REPO = "team/app"
PATIENCE_S = region.PATIENCE_S
OTHER = "riscv64" if images.ARCHITECTURE != "riscv64" else "s390x"


class Prefetch(suite.Case):
    def region(self, count, auth=None, credentials=True):
        self.centre = registry.Registry(self.stage, auth)
        self.front = proxy.Proxy(self.stage, self.centre.url)
        self.upstream = {"name": f"127.0.0.1:{self.front.port}", "url": self.front.url}
        if auth and credentials:
            self.upstream["credentials"] = self.stage.file(f"cred-{self.front.port}",
                                                           "alice:secret")
        made = region.Region(self, [self.upstream])
        made.start(count)
        return made.nodes

    def holds(self, node, digest):
        return json.loads(node.admin("GET", f"/api/v1/blobs/{digest}").body)["held"]

    def prefetch(self, node, *argv):
        return node.command("prefetch", *argv)

    def test_an_image(self):
        node = self.region(1, {"alice": "secret"})[0]
        image = self.centre.push(REPO, "1", images.small("prefetch"))
        code, out, err = self.prefetch(node, f"{REPO}:1")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("100.0%", out)
        for digest in [image.digest, *image.blobs()]:
            wait_for(lambda d=digest: self.holds(node, d), PATIENCE_S, "held")
        at = self.front.mark()
        code, out, _ = self.prefetch(node, f"127.0.0.1:{self.front.port}/{REPO}@{image.digest}",
                                     "--json")
        self.assertEqual(code, 0)
        told = json.loads(out)
        self.assertEqual((told["state"], told["layers"], told["bytes"]),
                         ("done", len(image.blobs()), told["of"]))
        self.assertEqual(self.front.fetches(since=at), [], "it is here already")

    def test_an_index_by_platform(self):
        node = self.region(1)[0]
        mine = images.tiny("mine")
        other = images.tiny("other", architecture=OTHER)
        self.centre.push(REPO, "multi", images.Index([mine, other]))
        self.assertEqual(self.prefetch(node, f"{REPO}:multi")[0], 0)
        self.assertTrue(self.holds(node, mine.layer_digests[0]))
        self.assertFalse(self.holds(node, other.layer_digests[0]))
        code, _, err = self.prefetch(node, f"{REPO}:multi", "--platform", "plan9/amd64")
        self.assertEqual(code, 1)
        self.assertIn("plan9/amd64", err)
        self.assertEqual(self.prefetch(node, f"{REPO}:multi", "--platform", "all")[0], 0)
        self.assertTrue(self.holds(node, other.layer_digests[0]))

    def test_a_region(self):
        """Every node has it, and one copy crossed the line, or two where a fetcher was too slow."""
        nodes = self.region(3)
        image = self.centre.push(REPO, "1", images.small("prefetch region"))
        at = self.front.mark()
        code, out, err = self.prefetch(nodes[0], f"{REPO}:1", "--region")
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("3 nodes", out)
        for node in nodes:
            for digest in image.blobs():
                self.assertTrue(self.holds(node, digest))
        for digest in image.blobs():
            self.assertIn(len(self.front.fetches(digest, at)), (1, 2))

    def test_what_cannot_be(self):
        node = self.region(1, {"alice": "secret"}, credentials=False)[0]
        image = self.centre.push(REPO, "1", images.tiny("refused"))
        for name, said in ((f"{REPO}:1", "credentials"), ("no such", "body must be"),
                           (f"{REPO}:none", "credentials")):
            code, _, err = self.prefetch(node, name)
            self.assertEqual(code, 1, name)
            self.assertIn(said, err)
        self.assertFalse(self.holds(node, image.layer_digests[0]))
        for body in (b"", b"{}", b"[]", b'{"image": 1}', b'{"image": "a:1", "region": 1}',
                     b'{"image": "a:1", "platform": 7}', b'{"image": "' + b"a" * 5000 + b'"}'):
            self.assertEqual(node.admin("POST", "/api/v1/prefetch", body).status, 400, body[:60])
        self.assertEqual(node.admin("GET", "/api/v1/prefetch?id=999").status, 404)
        self.assertEqual(node.admin("DELETE", "/api/v1/prefetch").status, 405)
        self.assertEqual(node.get("/mesh/v1/prefetch-image", "POST").status, 403)
        self.assertEqual(node.get("/mesh/v1/prefetch", "POST").status, 403)
        listed = json.loads(node.admin("GET", "/api/v1/prefetch").body)["prefetches"]
        self.assertEqual({p["state"] for p in listed}, {"failed"})


if __name__ == "__main__":
    suite.main()
