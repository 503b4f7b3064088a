"""The centre decides: who may pull what through a node is what the registry says, and nothing else.

Two facts make a permission: this Authorization may pull this repository, and this digest is in it.
Each test holds the node's answer against the registry's own, for blobs the node holds and for blobs
it does not, since neither the answer nor its time may tell.
"""

import json
import threading
import time

from dray_e2e import images, proxy, registry, suite, tokens, wire

OPEN, SECRET, BOBS = "team/app", "secret/app", "team/bob"
USERS = {
    "alice": ("alice-pw", {OPEN: {"pull"}, "team/second": {"pull"}}),
    "bob": ("bob-pw", {BOBS: {"pull"}}),
    "carol": ("carol-pw", {"*": {"pull"}}),
}
# What a client sees of a refusal, besides the body.
SHOWN = ("www-authenticate", "content-type", "content-length")


def together(*calls):
    """Runs the calls at once; their results in order."""
    results = [None] * len(calls)

    def one(i):
        results[i] = calls[i]()
    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


class Authz(suite.Case):
    """With tokens, each right of which the registry decides by itself."""

    @classmethod
    def prepare(cls):
        cls.tokens = tokens.TokenServer(cls.stage, USERS)
        cls.registry = registry.Registry(cls.stage, cls.tokens)
        cls.front = proxy.Proxy(cls.stage, cls.registry.url)
        cls.open = cls.registry.push(OPEN, "1", images.tiny("open"))
        cls.secret = cls.registry.push(SECRET, "1", images.tiny("secret"))
        cls.server = cls.node([{"name": "docker.io", "url": cls.front.url}])

    def login(self, user, repository, scope=None):
        """The header that a client of this user would send for this repository."""
        headers = [("Authorization", wire.basic(user, USERS[user][0]))] if user else []
        scope = scope or f"repository:{repository}:pull"
        got = wire.fetch(f"{self.tokens.realm}?service={tokens.SERVICE}&scope={scope}",
                         headers=headers)
        return [("Authorization", "Bearer " + got.json()["token"])]

    def ask(self, path, headers=(), method="GET", node=None):
        return (node or self.server).get(path, method, list(headers) + images.MANIFEST_ACCEPT)

    def check_refused(self, path, headers=(), node=None, status=None):
        """The node's refusal is the registry's own, to the byte."""
        for method in ("GET", "HEAD"):
            want = wire.fetch(self.registry.url + path, method,
                              list(headers) + images.MANIFEST_ACCEPT)
            got = self.ask(path, headers, method, node)
            self.assertGreaterEqual(want.status, 400)
            self.assertEqual(got.status, want.status, f"{method} {path}: {got.body[:200]}")
            self.assertEqual([got.header(n) for n in SHOWN], [want.header(n) for n in SHOWN])
            self.assertEqual(got.body, want.body)
            self.assertIsNone(got.header("x-dray-source"))
            if status:
                self.assertEqual(got.status, status)

    def hold(self, image, repository, user="carol"):
        """The node holds all of `image`, because `user` pulled it."""
        headers = self.login(user, repository)
        for digest, data in image.blobs().items():
            got = self.ask(f"/v2/{repository}/blobs/{digest}", headers)
            self.assertEqual((got.status, got.body), (200, data))
        for reference in ("1", image.digest):
            self.assertEqual(
                self.ask(f"/v2/{repository}/manifests/{reference}", headers).status, 200)

    def all_paths(self, image, repository):
        return [f"/v2/{repository}/manifests/1", f"/v2/{repository}/manifests/{image.digest}",
                *(f"/v2/{repository}/blobs/{d}" for d in image.blobs())]

    def check_all_refused(self, image, repository, headers):
        for path in self.all_paths(image, repository):
            with self.subTest(path):
                self.check_refused(path, headers)

    # --- who ------------------------------------------------------------------------------------

    def test_ping_is_the_registrys(self):
        self.check_refused("/v2/", status=401)
        self.assertEqual(self.ask("/v2/", self.login("alice", OPEN)).status, 200)

    def test_no_login(self):
        image = self.registry.push("team/second", "1", images.tiny("no login"))
        self.check_all_refused(image, "team/second", [])
        self.hold(image, "team/second")
        self.check_all_refused(image, "team/second", [])

    def test_no_permission(self):
        image = self.registry.push(SECRET, "1", images.tiny("no permission"))
        for headers in (self.login("bob", SECRET), self.login("bob", BOBS),
                        self.login("alice", OPEN)):
            self.check_all_refused(image, SECRET, headers)
        self.hold(image, SECRET)
        for headers in (self.login("bob", SECRET), self.login("bob", BOBS),
                        self.login("alice", OPEN)):
            self.check_all_refused(image, SECRET, headers)

    def test_forged_and_garbled(self):
        self.hold(self.secret, SECRET)
        good = self.login("carol", SECRET)[0][1]
        for value in (good[:-6] + "AAAAAA", "Bearer x.y.z", "Bearer ", "Bearer " + "x" * 8000,
                      "Basic !!!", wire.basic("carol", "carol-pw"), "Negotiate abc"):
            with self.subTest(value[:40]):
                self.check_refused(f"/v2/{SECRET}/blobs/{self.secret.layer_digests[0]}",
                                   [("Authorization", value)], status=401)

    def test_push_right_is_no_pull_right(self):
        self.hold(self.secret, SECRET)
        headers = [("Authorization", self.tokens.bearer(SECRET, ("push",)))]
        self.check_refused(f"/v2/{SECRET}/blobs/{self.secret.layer_digests[0]}", headers)

    def test_expired_token(self):
        """Its right ends with it, whatever authz.ttl says."""
        headers = [("Authorization", self.tokens.bearer(SECRET, lifetime=2))]
        path = f"/v2/{SECRET}/blobs/{self.secret.layer_digests[0]}"
        self.assertEqual(self.ask(path, headers).status, 200)
        # The registry itself forgives 60 s of clock: what counts is that it is asked again.
        time.sleep(3.1)
        at = self.front.mark()
        self.ask(path, headers)
        self.assertTrue(self.front.requests(since=at), "the registry was asked again")

    # --- what -----------------------------------------------------------------------------------

    def test_digest_of_another_repository(self):
        """Somebody's private layer under one's own name."""
        image = self.registry.push(SECRET, "own-name", images.tiny("own name"))
        headers = self.login("alice", OPEN)
        layer, manifest = image.layer_digests[0], image.digest
        for turn in ("cold", "held"):
            with self.subTest(turn):
                self.check_refused(f"/v2/{OPEN}/blobs/{layer}", headers, status=404)
                self.check_refused(f"/v2/{OPEN}/blobs/{manifest}", headers, status=404)
                self.check_refused(f"/v2/{OPEN}/manifests/{manifest}", headers, status=404)
            self.registry.push(SECRET, "1", image)
            self.hold(image, SECRET)

    def test_no_more_questions_held_or_not(self):
        """The registry is asked the same for what is held and for what is not: time cannot tell."""
        held = self.registry.push(SECRET, "1", images.tiny("held"))
        cold = self.registry.push(SECRET, "2", images.tiny("cold"))
        self.hold(held, SECRET)
        asked = {}
        for name, headers in (("stranger", []), ("bob", self.login("bob", SECRET)),
                              ("other name", self.login("alice", OPEN))):
            repository = OPEN if name == "other name" else SECRET
            for image in (held, cold):
                at = self.front.mark()
                for digest in (image.layer_digests[0], image.config_digest):
                    got = self.ask(f"/v2/{repository}/blobs/{digest}", headers)
                    self.assertIn(got.status, (401, 404))
                asked.setdefault(name, []).append(
                    [(r.method, r.path.rsplit("/", 1)[0], r.status)
                     for r in self.front.requests(since=at)])
        for name, (one, other) in asked.items():
            with self.subTest(name):
                self.assertTrue(one)
                self.assertEqual(one, other)

    def test_a_slow_centre_is_slow_for_all(self):
        """A refusal waits for the registry's word, held or not."""
        self.hold(self.secret, SECRET)
        rule = self.front.add(proxy.delay(0.4), method=None, path=SECRET)
        try:
            for digest in (self.secret.layer_digests[0], images.digest_of(b"never")):
                got = self.ask(f"/v2/{SECRET}/blobs/{digest}", self.login("bob", SECRET))
                self.assertEqual(got.status, 401)
                self.assertGreaterEqual(got.elapsed, 0.4)
            self.assertGreaterEqual(rule.hits, 2)
        finally:
            self.front.clear()

    # --- together -------------------------------------------------------------------------------

    def shared(self, order):
        """Users ask for one cold blob, in this order, while the registry thinks."""
        repository = "team/second"
        image = self.registry.push(repository, "1", images.tiny("shared" + order[0]))
        digest = image.layer_digests[0]
        logins = {user: self.login(user, repository) for user in ("alice", "bob")}
        self.front.add(proxy.delay(0.5), method=None, path=digest)

        def asker(user, wait):
            def call():
                time.sleep(wait)
                return self.ask(f"/v2/{repository}/blobs/{digest}", logins[user])
            return call
        try:
            answers = together(*(asker(user, 0.15 * i) for i, user in enumerate(order)))
        finally:
            self.front.clear()
        for user, got in zip(order, answers):
            with self.subTest(f"{user} of {order}"):
                if user == "alice":
                    self.assertEqual((got.status, got.body), (200, image.layers[0]))
                else:
                    self.assertEqual(got.status, 401)
                    self.assertIn("insufficient_scope", got.header("www-authenticate"))
        granted = [r for r in self.front.fetches(digest) if r.status in (200, 206)]
        self.assertEqual(len(granted), 1, "one fetch")

    def test_refusal_goes_to_its_own_user(self):
        self.shared(("bob", "alice", "bob", "alice"))
        self.shared(("alice", "bob", "alice"))

    # --- how long -------------------------------------------------------------------------------

    def test_ttl(self):
        long, node = (self.node(self.front.url, authz={"ttl": ttl}) for ttl in ("60s", "1s"))
        headers = self.login("alice", OPEN)
        path = f"/v2/{OPEN}/blobs/{self.open.layer_digests[0]}"
        self.assertEqual(self.ask(path, headers, node=long).status, 200)
        at = self.front.mark()
        self.assertEqual(self.ask(path, headers, node=long).status, 200)
        self.assertEqual(self.front.requests(since=at), [], "fresh")
        self.assertEqual(self.ask(path, headers, node=node).status, 200)
        at = self.front.mark()
        time.sleep(1.2)
        self.assertEqual(self.ask(path, headers, node=node).status, 200)
        again = self.front.requests(since=at)
        self.assertTrue(again, "asked again")
        self.assertLessEqual(sum(r.sent for r in again), 1, "asked, not fetched")

    def test_withdrawn(self):
        """What the registry takes back ends after ttl."""
        node = self.node(self.front.url, authz={"ttl": "1s"})
        headers = self.login("alice", OPEN)
        path = f"/v2/{OPEN}/blobs/{self.open.layer_digests[0]}"
        self.assertEqual(self.ask(path, headers, node=node).status, 200)
        denied = b'{"errors":[{"code":"DENIED","message":"not any more"}]}'
        self.front.add(proxy.status(403, denied), method=None, path=OPEN)
        try:
            time.sleep(1.2)
            got = self.ask(path, headers, node=node)
            self.assertEqual((got.status, got.body), (403, denied))
        finally:
            self.front.clear()

    def test_manifest_grants_its_layers(self):
        """After a manifest, its layers need no question of their own."""
        image = self.registry.push("team/second", "1", images.tiny("granted"))
        self.hold(image, "team/second")
        node = self.node(self.front.url)
        headers = self.login("alice", "team/second")
        got = self.ask("/v2/team/second/manifests/1", headers, node=node)
        self.assertEqual(got.status, 200)
        at = self.front.mark()
        self.assertEqual(self.ask(f"/v2/team/second/blobs/{image.layer_digests[0]}", headers,
                                  node=node).status, 200)
        self.assertEqual([r.method for r in self.front.requests(since=at)], ["GET"])


class Basic(suite.Case):
    @classmethod
    def prepare(cls):
        cls.registry = registry.Registry(cls.stage, {"alice": "secret"})
        cls.front = proxy.Proxy(cls.stage, cls.registry.url)
        cls.image = cls.registry.push(OPEN, "1", images.tiny("basic"))
        cls.server = cls.node([{"name": "docker.io", "url": cls.front.url}])

    def test_wrong_password(self):
        path = f"/v2/{OPEN}/blobs/{self.image.layer_digests[0]}"
        good = [("Authorization", wire.basic("alice", "secret"))]
        wrong = [[], [("Authorization", wire.basic("alice", "wrong"))],
                 [("Authorization", wire.basic("eve", "secret"))]]
        for turn in ("cold", "held"):
            for headers in wrong:
                with self.subTest(f"{turn} {headers}"):
                    want = wire.fetch(self.registry.url + path, headers=headers)
                    got = self.server.get(path, headers=headers)
                    self.assertEqual((got.status, got.body, got.header("www-authenticate")),
                                     (401, want.body, want.header("www-authenticate")))
            self.assertEqual(self.server.get(path, headers=good).status, 200)
        log = self.server.log()
        self.assertNotIn(wire.basic("alice", "secret").split()[1], log)
        self.assertNotIn("secret", log.replace("secret/app", ""))


class Mentions(suite.Case):
    """A manifest that names a digest without containing it grants nothing. The upstream is a fake one,
    since a real registry would not take such manifests."""

    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)
        cls.server = cls.node([{"name": "docker.io", "url": cls.upstream.url}])
        cls.hidden = images.tiny("hidden")
        for digest, data in cls.hidden.blobs().items():
            cls.upstream.serve_blob(SECRET, data, digest)
        cls.upstream.serve_manifest(SECRET, "1", cls.hidden)
        for path in (*(f"blobs/{d}" for d in cls.hidden.blobs()), f"manifests/{cls.hidden.digest}"):
            assert cls.server.get(f"/v2/{SECRET}/{path}").status == 200

    def check_nothing_granted(self, tag, manifest, media_type):
        image = images.tiny("mention")
        image.manifest, image.digest = manifest, images.digest_of(manifest)
        image.media_type = media_type
        self.upstream.serve_manifest(OPEN, tag, image)
        got = self.server.get(f"/v2/{OPEN}/manifests/{tag}", headers=images.MANIFEST_ACCEPT)
        self.assertEqual((got.status, got.body), (200, manifest))
        for path in (f"manifests/{self.hidden.digest}", f"blobs/{self.hidden.digest}",
                     f"blobs/{self.hidden.layer_digests[0]}", f"blobs/{self.hidden.config_digest}"):
            with self.subTest(path):
                self.assertEqual(self.server.get(f"/v2/{OPEN}/{path}").status, 404)

    def test_index(self):
        index = images.Index([self.hidden], images.OCI)
        self.check_nothing_granted("index", index.manifest, index.media_type)

    def test_subject(self):
        signature = images.artifact(self.hidden, "signature")
        self.check_nothing_granted("subject", signature.manifest, signature.media_type)

    def test_layer_with_urls(self):
        manifest = json.loads(self.hidden.manifest)
        manifest["layers"][0]["urls"] = ["https://elsewhere.example.org/layer"]
        manifest["config"] = {**manifest["config"], "digest": images.digest_of(b"other config")}
        self.check_nothing_granted("urls", json.dumps(manifest).encode(),
                                   manifest["mediaType"])

    def test_annotation(self):
        manifest = json.loads(images.tiny("annotated", images.OCI).manifest)
        manifest["annotations"] = {"digest": self.hidden.layer_digests[0],
                                   "layers": self.hidden.manifest.decode()}
        self.check_nothing_granted("annotation", json.dumps(manifest).encode(),
                                   manifest["mediaType"])


if __name__ == "__main__":
    suite.main()
