"""The centre away, seen through a tracker: what was lately granted goes on with authz.grace, and nothing
else; without it everybody is told so."""

import json
import time

from dray_e2e import clients, proxy, suite, tokens, tracker, wire
from dray_e2e.stage import wait_for
from test_tracker_redirect import ALICE, PATIENCE_S, REPO, Redirecting

# The login is kept for ttl, and a node must have read through by then, on a busy machine too.
GRACE = {"authz": {"ttl": "6s", "grace": "1h"}}
ACCEPT = [("Accept", "application/vnd.docker.distribution.manifest.v2+json")]
BOB = [("Authorization", wire.basic("bob", "secret"))]


class Away(Redirecting):
    def cached(self, auth=None, config=None, **more):
        """An office whose nodes hold the image, pulled by a user a moment ago."""
        self.office(auth, config=config or GRACE, **more)
        headers = ALICE if auth else []
        self.assertEqual(self.manifest(headers).status, 200)
        for digest, data in self.image.blobs().items():
            self.assertEqual(self.follow(self.ask(digest, headers)).body, data)
        self.held()
        return headers

    def manifest(self, headers=(), reference="1", method="GET"):
        return self.tracker.get(f"/v2/{REPO}/manifests/{reference}", method, [*headers, *ACCEPT])

    def held(self):
        def known():
            return all(any(c["holds"] for c in json.loads(self.tracker.admin(
                "GET", f"/api/v1/why?digest={d}").body)["candidates"]) for d in self.image.blobs())
        wait_for(known, PATIENCE_S, "the layers' holders known")

    def expire(self):
        time.sleep(6.2)  # authz.ttl


class Wire(Away):
    def test_what_was_granted_goes_on(self):
        headers = self.cached({"alice": "secret"})
        self.assertEqual(self.tracker.get("/v2/", headers=headers).status, 200)
        self.assertEqual(self.tracker.get("/v2/").status, 401)
        self.assertEqual(self.manifest().status, 401)
        before = self.manifest(headers)
        head = self.manifest(headers, method="HEAD")
        self.front.down()
        self.expire()
        self.assertEqual(self.tracker.get("/v2/", headers=headers).status, 200)
        for path in ("/v2/", f"/v2/{REPO}/manifests/1"):
            told = self.tracker.get(path)
            self.assertEqual(told.status, 401, path)
            self.assertIn("Basic", told.header("www-authenticate"))
        for reference in ("1", self.image.digest):
            after = self.manifest(headers, reference)
            self.assertEqual((after.status, after.body), (200, self.image.manifest))
            for name in ("content-type", "docker-content-digest"):
                self.assertEqual(after.header(name), before.header(name))
        again = self.manifest(headers, method="HEAD")
        self.assertEqual(again.status, 200)
        self.assertEqual(again.header("content-length"), head.header("content-length"))
        for digest, data in self.image.blobs().items():
            self.assertEqual(self.follow(self.ask(digest, headers)).body, data)
        self.assertGreater(self.tracker.metric("dray_authz_total"), 0)

    def test_nobody_else_is_let_in(self):
        self.cached({"alice": "secret", "bob": "secret"})
        self.front.down()
        self.expire()
        digest = self.image.layer_digests[0]
        for headers in (BOB, [("Authorization", wire.basic("alice", "wrong"))]):
            self.assertEqual(self.tracker.get("/v2/", headers=headers).status, 503)
            self.assertEqual(self.manifest(headers).status, 503)
            self.assertEqual(self.ask(digest, headers).status, 503)
        other = self.tracker.get("/v2/other/app/manifests/1", headers=ALICE)
        self.assertEqual(other.status, 503)
        elsewhere = self.tracker.get(f"/v2/other/app/blobs/{digest}", headers=ALICE)
        self.assertEqual(elsewhere.status, 503)

    def test_without_grace_it_is_said(self):
        headers = self.cached({"alice": "secret"}, config={"authz": {"ttl": "6s"}})
        self.front.down()
        self.expire()
        for answer in (self.tracker.get("/v2/", headers=headers), self.manifest(headers),
                       self.ask(self.image.layer_digests[0], headers)):
            self.assertEqual(answer.status, 503)
            self.assertIn("does not answer", json.loads(answer.body)["errors"][0]["message"])

    def test_grace_ends(self):
        headers = self.cached({"alice": "secret"}, config={"authz": {"ttl": "6s", "grace": "2s"}})
        self.front.down()
        wait_for(lambda: self.manifest(headers).status == 503, PATIENCE_S, "the end of grace")
        self.assertEqual(self.ask(self.image.layer_digests[0], headers).status, 503)
        self.front.up()
        wait_for(lambda: self.manifest(headers).status == 200, PATIENCE_S, "the registry again")

    def test_server_errors_count_as_away(self):
        headers = self.cached({"alice": "secret"})
        self.expire()
        for method in ("GET", "HEAD"):
            self.front.add(proxy.status(502), method, r"^/v2/")
        self.assertEqual(self.manifest(headers).status, 200)
        self.assertEqual(self.ask(self.image.layer_digests[0], headers).status, 307)

    def test_a_silent_registry_is_waited_for_once(self):
        """It takes requests and says nothing: the first waits a little, all others do not."""
        headers = self.cached({"alice": "secret"})
        self.expire()
        for method in ("GET", "HEAD"):
            self.front.add(proxy.silence(), method, r"^/v2/")
        at = self.front.mark()
        self.assertEqual(self.manifest(headers).status, 200)
        self.assertEqual(len(self.front.requests(path=r"/manifests/", since=at)), 1)
        for _ in range(5):
            self.assertEqual(self.manifest(headers).status, 200)
            for digest in self.image.blobs():
                self.assertEqual(self.ask(digest, headers).status, 307)
        later = self.front.requests(path=r"/manifests/|/blobs/", since=at)
        self.assertEqual(len(later), 1, "nobody waited again")
        self.front.clear()
        self.front.released.set()
        at = self.front.mark()

        def asked():
            self.manifest(headers)
            return self.front.requests(path=r"/manifests/", since=at)
        wait_for(asked, PATIENCE_S, "the registry is asked again")

    def test_who_holds_it_serves(self):
        """One node holds the layers, another is the profile's: it could fetch them only from the centre."""
        self.office({"alice": "secret"}, config=GRACE)
        self.assertEqual(self.tracker.command("users", "set", "alice", "n1")[0], 0)
        self.assertEqual(self.manifest(ALICE).status, 200)
        for digest, data in self.image.blobs().items():
            self.assertEqual(self.follow(self.ask(digest, ALICE)).body, data)
        self.held()
        self.assertEqual(self.tracker.command("users", "set", "alice", "n2")[0], 0)
        self.front.down()
        self.expire()
        for digest, data in self.image.blobs().items():
            answer = self.ask(digest, ALICE)
            self.assertEqual(answer.header("x-dray-node"), "n1")
            self.assertEqual(self.follow(answer).body, data)


class Tokens(Away):
    def test_tokens_are_told_again_while_they_live(self):
        own = tokens.TokenServer(self.stage, {"alice": ("secret", {REPO: {"pull"}})})
        host = proxy.Proxy(self.stage)
        own.realm = host.url + "/auth/token"
        self.office(own, config=GRACE)

        def to_tokens(exchange):
            asked = exchange.record
            keep = [(n, v) for n, v in asked.headers if n.lower() == "authorization"]
            got = wire.fetch(f"http://127.0.0.1:{own.port}{asked.target}", asked.method, keep,
                             exchange.request_body or b"")
            exchange.answer(got.status, [("Content-Type", "application/json")], got.body)
        host.target = proxy.Proxy._parse(self.centre.url, None)
        host.add(to_tokens, "GET", r"^/auth/token")
        front = tracker.Tracker(self.stage, host.url, **GRACE)
        self.nodes.append(front)
        path = f"/auth/token?service=x&scope=repository:{REPO}:pull"
        got = front.get(path, headers=ALICE)
        self.assertEqual(got.status, 200)
        bearer = [("Authorization", "Bearer " + json.loads(got.body)["token"])]
        self.assertEqual(front.get(f"/v2/{REPO}/manifests/1", headers=bearer + ACCEPT).status, 200)
        host.down()
        again = front.get(path, headers=ALICE)
        self.assertEqual((again.status, again.body), (200, got.body))
        self.assertEqual(front.get(f"/v2/{REPO}/manifests/1", headers=bearer + ACCEPT).body,
                         self.image.manifest)
        self.assertEqual(front.get(path, headers=BOB).status, 503)
        self.assertEqual(front.get(path + "x", headers=ALICE).status, 503)


class Clients(Away):
    """Unmodified clients pull what is cached while the registry is stopped."""

    def stop_registry(self):
        self.held()
        self.front.down()
        self.expire()

    def test_skopeo(self):
        for auth, creds in ((None, None), ({"alice": "secret"}, "alice:secret")):
            self.office(auth, config=GRACE)
            name = f"{self.tracker.host}/{REPO}:1"
            self.skopeo.copy(name, creds)[0].must()
            self.stop_registry()
            done, folder = self.skopeo.copy(name, creds)
            done.must()
            self.skopeo.verify(folder, self.image)
            if auth:
                self.assertFalse(self.skopeo.copy(name, "bob:secret")[0].ok)

    def test_ctr(self):
        containerd = clients.Containerd(self.stage)
        self.office({"alice": "secret"}, config=GRACE)
        name = f"{self.tracker.host}/{REPO}:1"
        argv = ["images", "pull", "--plain-http", "--snapshotter", "native", "--user",
                "alice:secret", name]
        containerd.ctr(*argv).must()
        containerd.forget(name)
        self.stop_registry()
        containerd.ctr(*argv).must()
        containerd.verify(self.image)

    def test_docker(self):
        containerd = clients.Containerd(self.stage)
        docker = clients.Docker(self.stage, containerd)
        self.office({"alice": "secret"}, config=GRACE)
        name = f"{self.tracker.host}/{REPO}:1"
        docker.login(self.tracker.host, "alice", "secret").must()
        docker.pull(name).must()
        docker.forget(name)
        self.stop_registry()
        docker.login(self.tracker.host, "alice", "secret").must()
        docker.pull(name).must()
        docker.verify(name, self.image)


if __name__ == "__main__":
    suite.main()
