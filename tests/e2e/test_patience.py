"""Registries and token services that keep a request for ever: who asked is told so in the end, and nothing
of it stays. The programs are those of standin/hasty.c, which lose patience twelve times as fast."""

import base64
import json
import os
import subprocess
import threading
from urllib.parse import unquote

from dray_e2e import images, proxy, region, suite, tracker, wire
from dray_e2e import node as nodes_path
from dray_e2e.stage import wait_for

WAYS = ("silent", "head", "begin", "body")
WHY = ("no answer came in time", "its body stopped coming", "its answer did not end in time")
PATIENCE_S = 120
REPO = "team/app"


def login(way):
    return [("Authorization", wire.basic(way, "secret"))]


def asker(record):
    """The name in its Authorization."""
    kind, _, value = (record.header("authorization") or "").partition(" ")
    return base64.b64decode(value).decode().split(":")[0] if kind == "Basic" else ""


class Kept(suite.Case):
    """A registry that keeps the requests of the user "silent", "head", ... in that way."""

    @classmethod
    def prepare(cls):
        cls.image = images.small("patience")

    def setUp(self):
        self.centre = proxy.Proxy(self.stage)
        self.centre.serve_manifest(REPO, "1", self.image)
        self.centre.serve(f"/v2/{REPO}/tags/list", b'{"name": "team/app", "tags": ["1"]}',
                          "application/json")
        for digest, data in self.image.blobs().items():
            self.centre.serve_blob(REPO, data, digest)
        self.digest = self.image.layer_digests[0]

    def challenge(self):
        value = f'Bearer realm="{self.centre.url}/token",service="s"'
        return proxy.status(401, b"{}", [("WWW-Authenticate", value)])

    def keep(self, path, of=asker):
        """Rules: requests of `path` are kept in the way that `of(record)` says."""
        for way in WAYS:
            self.centre.add(proxy.keep(way), path=path, when=lambda r, w=way: of(r) == w)

    def all_at_once(self, asks):
        """What came of each of `asks`, functions."""
        done = [None] * len(asks)

        def one(i):
            done[i] = asks[i]()
        threads = [threading.Thread(target=one, args=[i], daemon=True) for i in range(len(asks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        return done

    def check_kept(self, answers, at, count):
        """Everybody got a clear error, and the registry's side of it is given up."""
        for answer in answers:
            self.assertIsNotNone(answer, "somebody still waits")
            self.assertEqual((answer.status, answer.codes()), (503, ["UNAVAILABLE"]), answer.body)

        def given_up():
            kept = [r for r in self.centre.requests(since=at) if r.status is None and r.ended]
            return len(kept) >= count and all(r.complete for r in kept)
        wait_for(given_up, PATIENCE_S, f"{count} connections given up: "
                 f"{self.centre.requests(since=at)}")

    @staticmethod
    def descriptors(program):
        return len(os.listdir(f"/proc/{program.process.pid}/fd"))


class Node(Kept):
    def start(self):
        credentials = self.stage.file("patience.cred", "node:secret")
        return self.node([{"name": "docker.io", "url": self.centre.url, "credentials": credentials}])

    def test_small_answers_and_permissions(self):
        node = self.start()
        paths = [f"/v2/{REPO}/manifests/1", f"/v2/{REPO}/tags/list", f"/v2/{REPO}/blobs/{self.digest}",
                 "/v2/"]
        for path in paths:
            self.keep(f"^{path}$")
        at, before = self.centre.mark(), node.metric("dray_http_requests_total")
        answers = self.all_at_once([
            lambda p=path, w=way: node.get(p, headers=login(w), timeout=PATIENCE_S)
            for path in paths for way in WAYS])
        self.check_kept(answers, at, len(answers))
        for answer in answers:
            self.assertTrue(any(why in answer.body.decode() for why in WHY), answer.body)
        counted = sum(v for k, v in node.metrics().items()
                      if k.startswith("dray_http_requests_total") and 'code="503"' in k)
        self.assertEqual(counted, len(answers))
        self.assertGreaterEqual(node.metric("dray_http_requests_total"), before + len(answers))
        self.centre.clear()
        for path in paths:
            for way in WAYS:
                self.assertEqual(node.get(path, headers=login(way)).status, 200, path)
        wait_for(lambda: self.descriptors(node) < 60, PATIENCE_S, "descriptors given back")

    def test_the_nodes_own_token(self):
        """Users may have it; the token that the node wants for itself does not come."""
        node = self.start()
        layers = {way: images.random_bytes(100_000, way) for way in WAYS}
        paths = {}
        for way, data in layers.items():
            self.centre.serve_blob(f"slow/{way}", data, images.digest_of(data))
            paths[way] = f"/v2/slow/{way}/blobs/{images.digest_of(data)}"
        self.centre.add(self.challenge(), when=lambda r: not r.header("authorization"))
        self.keep("^/token$", lambda r: unquote(r.query).partition("slow/")[2].split(":")[0])
        at = self.centre.mark()
        answers = self.all_at_once([lambda p=path: node.get(p, headers=login("alice"),
                                                            timeout=PATIENCE_S)
                                    for path in paths.values()])
        self.check_kept(answers, at, len(WAYS))
        for answer in answers:
            self.assertTrue(any(why in answer.body.decode() for why in WHY), answer.body)
        self.centre.clear()
        for way, path in paths.items():
            got = node.get(path, headers=login("alice"))
            self.assertEqual((got.status, got.body), (200, layers[way]))


class Tracker(Kept):
    def start(self):
        keys = [os.path.join(self.stage.path, f"tickets-{self.centre.port}{end}")
                for end in (".key", ".pub")]
        subprocess.run([nodes_path.PROGRAM, "keygen", "ticket", *keys], check=True,
                       capture_output=True)
        self.centre.add(self.challenge(), path="^/v2/$", when=lambda r: not r.header("authorization"))
        upstream = {"name": self.centre.host, "url": self.centre.url}
        self.region = region.Region(self, [upstream], region="office", tracker_key=keys[1])
        self.region.start(1)
        t = tracker.Tracker(self.stage, self.centre.url, mesh_key=self.region.key_file,
                            ticket_key=keys[0], admin={"allow": []}, regions=[
                                {"name": "office", "seeds": [self.region.nodes[0].host]}])
        self.nodes.append(t)
        return t

    def test_permissions_and_manifests(self):
        t = self.start()
        paths = [f"/v2/{REPO}/blobs/{self.digest}", f"/v2/{REPO}/manifests/1"]
        for path in paths:
            self.keep(f"^{path}$")
        at = self.centre.mark()
        answers = self.all_at_once([lambda w=way: t.get(paths[0], headers=login(w),
                                                        timeout=PATIENCE_S) for way in WAYS])
        self.check_kept(answers, at, len(answers))
        for answer in answers:
            self.assertTrue(any(why in answer.body.decode() for why in WHY), answer.body)
        # A manifest's head may have been passed on: then its body ends short.
        at = self.centre.mark()

        def manifest(way):
            try:
                got = t.get(paths[1], headers=login(way), timeout=PATIENCE_S)
            except ConnectionError as e:
                return str(e)
            return got.status if got.ended == "full" else got.ended
        ended = self.all_at_once([lambda w=way: manifest(w) for way in WAYS])
        for end in ended:
            self.assertIn(end, (503, "fin"), ended)
        self.check_kept([], at, len(ended))
        self.centre.clear()
        for way in WAYS:
            self.assertIn(t.get(paths[0], headers=login(way)).status, (200, 307))
            self.assertEqual(t.get(paths[1], headers=login(way)).body, self.image.manifest)

    def test_users_own_profiles(self):
        """The registry is asked whether it takes the login; and for a token first, where it wants that."""
        t = self.start()
        self.keep("^/v2/$")
        for way in WAYS:
            self.centre.add(self.challenge(), path="^/v2/$",
                            when=lambda r, w=way: asker(r) == "token-" + w)
        self.keep("^/token$", lambda r: asker(r).removeprefix("token-"))
        users = [*WAYS, *("token-" + w for w in WAYS)]

        def change(user):
            return wire.fetch(f"{t.url}/api/v1/users/{user}", "PUT", login(user),
                              b'{"cache": "office"}', timeout=PATIENCE_S)
        at = self.centre.mark()
        answers = self.all_at_once([lambda u=user: change(u) for user in users])
        self.check_kept(answers, at, len(users))
        for user, answer in zip(users, answers):
            who = "token service" if user.startswith("token-") else "central registry"
            self.assertIn(f"the {who} does not answer", answer.body.decode(), user)
        self.assertEqual(json.loads(t.admin("GET", "/api/v1/users").body), {}, "nobody got through")
        text = t.admin("GET", "/metrics").body.decode()
        self.assertIn(f'dray_http_requests_total{{route="api",code="503"}} {len(users)}\n', text)
        self.centre.clear()
        self.assertEqual(change("silent").status, 200)


if __name__ == "__main__":
    suite.main()
