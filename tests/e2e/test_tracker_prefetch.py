"""The node that will be chosen begins when the manifest is read; who only reads manifests moves nothing."""

import json
import time

from dray_e2e import images, suite
from dray_e2e.stage import wait_for
from test_tracker_redirect import ALICE, PATIENCE_S, REPO, Redirecting

SCANNED = 1000
LOOKED_INTO = 100
LOOKS_S = 0.5  # a node looks at its orders five times meanwhile
LAYER = 64 << 10
LARGE = 12 << 20  # more than ever is begun unasked


class Prefetch(Redirecting):
    def manifest(self, repository, image, headers=()):
        got = self.tracker.get(f"/v2/{repository}/manifests/{image.digest}",
                               headers=[*headers, ("Accept", image.media_type)])
        self.assertEqual((got.status, got.body), (200, image.manifest))

    def held(self, digest):
        said = self.tracker.admin("GET", f"/api/v1/why?digest={digest}").body
        return any(c["holds"] for c in json.loads(said)["candidates"])

    def test_what_a_manifest_needs_is_begun(self):
        """Small things at once; the large ones with the first request, before they are asked for."""
        self.office({"alice": "secret"}, count=2)
        image = images.Image(json.dumps({"made": "up"}).encode(),
                             [images.random_bytes(LARGE, f"prefetch {i}") for i in range(3)])
        self.centre.push(REPO, "large", image)
        at = self.front.mark()
        self.manifest(REPO, image, ALICE)
        wait_for(lambda: self.front.fetches(image.config_digest, at), PATIENCE_S,
                 "the config is fetched unasked")
        first, *others = image.layer_digests
        self.assertEqual(self.front.fetches(first, at), [], "too much for what nobody asked for")
        self.assertEqual(self.follow(self.ask(first, ALICE)).status, 200)
        for digest in others:
            wait_for(lambda d=digest: self.front.fetches(d, at), PATIENCE_S,
                     "the other layers come before they are asked for")
        for digest, data in image.blobs().items():
            self.assertEqual(self.follow(self.ask(digest, ALICE)).body, data)
            self.assertEqual(len(self.front.fetches(digest, at)), 1, "one copy crosses the line")

    def test_a_config_is_no_layer(self):
        """Who reads it beside the manifest has not asked for anything large."""
        self.office({"alice": "secret"}, count=2)
        image = images.Image(b'{"made": "up, too"}',
                             [images.random_bytes(LARGE, f"config {i}") for i in range(2)])
        self.centre.push(REPO, "looked-at", image)
        at = self.front.mark()
        self.manifest(REPO, image, ALICE)
        for _ in range(3):
            got = self.follow(self.ask(image.config_digest, ALICE))
            self.assertEqual((got.status, got.body), (200, image.config))
            time.sleep(LOOKS_S)
        self.assertEqual([self.front.fetches(d, at) for d in image.layer_digests], [[], []])
        first, second = image.layer_digests
        self.assertEqual(self.follow(self.ask(first, ALICE)).status, 200)
        wait_for(lambda: self.front.fetches(second, at), PATIENCE_S, "the other one comes with it")

    def test_what_is_held_is_not_ordered(self):
        self.office(count=1)
        for digest in self.image.blobs():
            self.follow(self.ask(digest))
            wait_for(lambda d=digest: self.held(d), PATIENCE_S, "the holder known")
        self.manifest(REPO, self.image)
        self.assertEqual(self.region.nodes[0].metric("dray_prefetches_total"), 0)

    def test_a_scanner_moves_next_to_nothing(self):
        """A thousand manifests, and not one layer asked for."""
        self.office(count=2)
        base = images.random_bytes(LAYER, "scanned")
        made = []
        for i in range(SCANNED):
            image = images.Image(b'{"n": %d}' % i, [b"%08d" % i + base[8:]])
            made.append((f"scanned/app-{i}", image))
            self.front.serve_manifest(made[-1][0], "1", image)
            for digest, data in image.blobs().items():
                self.front.serve_blob(made[-1][0], data, digest)
        at = self.front.mark()
        for repository, image in made:
            self.manifest(repository, image)
        everything = sum(image.size() for _, image in made)
        moved = sum(r.sent for r in self.front.fetches(since=at))
        self.assertLess(moved, everything / 100)
        withheld = self.tracker.metrics()['dray_prefetches_total{outcome="withheld"}']
        self.assertGreater(withheld, SCANNED * 9 / 10)
        # Configs are no layers.
        at = self.front.mark()
        for repository, image in made[:LOOKED_INTO]:
            self.manifest(repository, image)
            path = f"/v2/{repository}/blobs/{image.config_digest}"
            got = self.follow(self.tracker.get(path))
            self.assertEqual((got.status, got.body), (200, image.config))
        layers = [d for _, image in made[:LOOKED_INTO] for d in image.layer_digests]
        self.assertLess(sum(len(self.front.fetches(d, at)) for d in layers), LOOKED_INTO / 10)
        # Whoever pulls is served as ever.
        digest = self.image.layer_digests[0]
        self.assertEqual(self.follow(self.ask(digest)).body, self.image.layers[0])


if __name__ == "__main__":
    suite.main()
