"""The tracker with a region: the registry decides, layers come from the best node by redirect."""

import json
import os
import signal
import subprocess
import threading
import time

from dray_e2e import clients, images, proxy, region, registry, suite, tokens, tracker, wire
from dray_e2e import node as nodes_path
from dray_e2e.stage import wait_for

REPO = "team/app"
ALICE = [("Authorization", wire.basic("alice", "secret"))]
PATIENCE_S = region.PATIENCE_S


class Redirecting(suite.Case):
    @classmethod
    def prepare(cls):
        cls.image = images.small("redirect")
        cls.skopeo = clients.Skopeo(cls.stage)
        users = {"alice": ("secret", {REPO: {"pull", "push"}}), "bob": ("secret", {})}
        cls.tokens = tokens.TokenServer(cls.stage, users)

    def office(self, auth=None, count=2, credentials=False, config=None, **node):
        """A registry behind a counting proxy, nodes of one region, and a tracker before all."""
        self.centre = registry.Registry(self.stage, auth)
        self.centre.push(REPO, "1", self.image)
        self.front = proxy.Proxy(self.stage, self.centre.url)
        self.ticket_keys()
        upstream = {"name": f"127.0.0.1:{self.front.port}", "url": self.front.url}
        if credentials:
            upstream["credentials"] = self.stage.file(f"cred-{self.front.port}", "alice:secret")
        self.region = region.Region(self, [upstream], region="asia-office", tracker_key=self.pub,
                                    **node)
        self.region.start(count)
        self.tracker = tracker.Tracker(self.stage, self.front.url, **{**dict(
            mesh_key=self.region.key_file, ticket_key=self.key,
            regions=[{"name": "asia-office", "seeds": [self.region.nodes[0].host]}]),
            **(config or {})})
        self.nodes.append(self.tracker)
        self.caches(count)
        return self.tracker

    def ticket_keys(self):
        name = f"tickets-{self.front.port}"
        self.key, self.pub = (os.path.join(self.stage.path, name + end) for end in (".key", ".pub"))
        subprocess.run([nodes_path.PROGRAM, "keygen", "ticket", self.key, self.pub], check=True,
                       capture_output=True)

    def caches(self, count):
        def known():
            found = json.loads(self.tracker.admin("GET", "/api/v1/caches").body)["caches"]
            return sum(c["fit"] for c in found) == count
        wait_for(known, PATIENCE_S, f"{count} nodes known")

    def ask(self, digest, headers=(), method="GET"):
        return self.tracker.get(f"/v2/{REPO}/blobs/{digest}", method, headers)

    def follow(self, answer, headers=()):
        self.assertEqual(answer.status, 307, answer.body)
        return wire.fetch(answer.header("location"), "GET", list(headers))


class Rules(Redirecting):
    def test_a_layer_is_redirected_and_delivered(self):
        self.office()
        at = self.front.mark()
        for digest, data in self.image.blobs().items():
            first = self.ask(digest)
            self.assertEqual(first.header("cache-control"), "no-store")
            self.assertEqual(first.header("docker-content-digest"), digest)
            got = self.follow(first)
            self.assertEqual((got.status, got.body), (200, data))
            part = self.follow(self.ask(digest), [("Range", "bytes=5-20")])
            self.assertEqual((part.status, part.body), (206, data[5:21]))
        whole = [r for r in self.front.fetches(since=at)]
        self.assertEqual(len(whole), len(self.image.blobs()), "one copy of each crosses the line")

    def test_heads_are_not_redirected(self):
        self.office(count=1)
        digest = self.image.layer_digests[0]
        self.assertEqual(self.ask(digest, method="HEAD").status, 200)
        self.assertEqual(self.tracker.get(f"/v2/{REPO}/manifests/1", "HEAD").status, 200)

    def test_refusals_are_the_registrys_and_nothing_is_widened(self):
        self.office({"alice": "secret"}, count=1)
        digest = self.image.layer_digests[0]
        path = f"/v2/{REPO}/blobs/{digest}"
        for headers in ([], [("Authorization", wire.basic("alice", "wrong"))]):
            here = self.ask(digest, headers)
            there = wire.fetch(self.centre.url + path, "GET", headers)
            self.assertEqual((here.status, here.body), (there.status, there.body))
            self.assertEqual(here.header("www-authenticate"), there.header("www-authenticate"))
        self.assertEqual(self.ask(digest, ALICE).status, 307)
        self.assertEqual(self.ask(digest).status, 401, "alice's right is hers alone")
        nowhere = "sha256:" + "0" * 64
        self.assertEqual(self.ask(nowhere, ALICE).status, 404)
        other = self.tracker.get(f"/v2/other/app/blobs/{digest}", headers=ALICE)
        self.assertEqual(other.status, 404, "not a layer of that repository")

    def test_a_private_layer_is_read_through_once(self):
        self.office({"alice": "secret"})
        at = self.front.mark()
        for digest, data in self.image.blobs().items():
            for _ in range(2):
                got = self.follow(self.ask(digest, ALICE))
                self.assertEqual((got.status, got.body), (200, data))
        self.assertEqual(len(self.front.fetches(since=at)), len(self.image.blobs()))

    def test_tickets_of_a_revoked_user_end_at_the_node(self):
        self.office({"alice": "secret"}, count=1)
        answer = self.ask(self.image.layer_digests[0], ALICE)
        self.assertEqual(self.follow(answer).status, 200)
        self.assertEqual(self.tracker.command("users", "revoke", "alice")[0], 0)
        wait_for(lambda: self.follow(answer).status == 403, 5, "the node's refusal")
        self.assertIn("revoked", self.follow(answer).json()["errors"][0]["message"])
        time.sleep(1.1)  # what is issued in the same second counts as revoked
        self.assertEqual(self.follow(self.ask(self.image.layer_digests[0], ALICE)).status, 200)

    def test_tickets_that_do_not_count(self):
        self.office(count=2)
        one, two = self.image.layer_digests[:2]
        place = self.ask(one).header("location")
        foreign = place.replace(one, two)
        altered = place[:-3] + ("A" if place[-3] != "A" else "B") + place[-2:]
        host = place.split("/")[2]
        other = next(n for n in self.region.nodes if n.host != host)
        elsewhere = place.replace(host, other.host)
        for url in (foreign, altered, elsewhere):
            got = wire.fetch(url, "GET", [])
            self.assertEqual(got.status, 403, url)
            self.assertEqual(json.loads(got.body)["errors"][0]["code"], "DENIED")

    def test_keys_rotate_without_a_restart(self):
        self.office(count=1)
        digest = self.image.layer_digests[0]
        old = self.ask(digest).header("location")
        new = [self.key + "2", self.pub + "2"]
        subprocess.run([nodes_path.PROGRAM, "keygen", "ticket", *new], check=True,
                       capture_output=True)
        with open(self.pub, encoding="ascii") as a, open(new[1], encoding="ascii") as b:
            both = a.read() + b.read()
        self.stage.file(os.path.basename(self.pub), both)
        self.region.nodes[0].process.signal(signal.SIGHUP)
        with open(new[0], encoding="ascii") as b, open(self.key, encoding="ascii") as a:
            both = b.read() + a.read()
        self.stage.file(os.path.basename(self.key), both)
        wait_for(lambda: "reloaded" in self.region.nodes[0].log(), 10, "the node's reload")
        self.tracker.process.signal(signal.SIGHUP)
        wait_for(lambda: "reloaded" in self.tracker.log(), 10, "the tracker's reload")
        fresh = self.ask(digest).header("location")
        self.assertNotEqual(old, fresh)
        for url in (old, fresh):
            self.assertEqual(wire.fetch(url, "GET", []).status, 200)

    def test_an_images_layers_go_to_one_node(self):
        self.office(count=3)
        hosts = {self.ask(d).header("x-dray-node") for d in self.image.blobs()}
        self.assertEqual(len(hosts), 1)

    def test_a_node_under_our_own_name_is_refused(self):
        self.office(count=1, config={"public_url": "http://localhost:1"})
        self.tracker.stop()
        self.tracker.config["public_url"] = "http://127.0.0.11:1"
        self.tracker.write_config()
        self.tracker.start()
        wait_for(lambda: json.loads(self.tracker.get("/api/v1/caches").body)["caches"], PATIENCE_S,
                 "the node known")
        got = self.ask(self.image.layer_digests[0])
        self.assertEqual((got.status, got.body), (200, self.image.layers[0]))

    def test_why(self):
        self.office(count=2)
        digest = self.image.layer_digests[0]
        found = json.loads(self.tracker.get(f"/api/v1/why?user=alice&digest={digest}").body)
        self.assertEqual(len(found["candidates"]), 2)
        self.assertTrue(found["decided"])
        code, out, _ = self.tracker.command("why", "alice", digest)
        self.assertEqual((code, len(json.loads(out)["candidates"])), (0, 2))


class Stranded(Redirecting):
    def test_without_nodes_the_tracker_streams(self):
        self.office()
        for node in self.region.nodes:
            node.kill()
        for digest, data in self.image.blobs().items():
            def got(digest=digest, data=data):
                answer = self.ask(digest)
                return answer.status == 200 and answer.body == data
            wait_for(got, PATIENCE_S, "a stream")

    def test_a_failing_node_is_struck(self):
        """A node that cannot deliver says so; the next try goes elsewhere, then to the registry."""
        self.office({"alice": "secret"}, credentials=True)
        digest, data = self.image.layer_digests[0], self.image.layers[0]
        self.assertEqual(self.ask(digest, ALICE).status, 307)  # allowed, and remembered
        self.front.down()
        tried = set()
        for _ in range(2):
            first = self.ask(digest, ALICE)
            tried.add(first.header("x-dray-node"))
            self.assertNotEqual(self.follow(first).body, data)
            wait_for(lambda: self.tracker.metric("dray_strikes_total") or
                     self.ask(digest, ALICE).header("x-dray-node") not in tried, PATIENCE_S,
                     "the outcome told")
        self.assertEqual(len(tried), 2)
        self.front.up()
        wait_for(lambda: self.ask(digest, ALICE).status == 200, PATIENCE_S, "a stream")
        self.assertEqual(self.ask(digest, ALICE).body, data)


class Profiles(Redirecting):
    def test_set_get_and_kept(self):
        self.office({"alice": "secret"}, config={"admin": {"allow": []}})
        path = "/api/v1/users/alice"
        for who in ([], [("Authorization", wire.basic("alice", "wrong"))]):
            self.assertEqual(self.tracker.ask(path, "PUT", who, b'{"cache": "n2"}').status, 401)
        self.assertEqual(self.tracker.ask("/api/v1/users/bob", "PUT", ALICE,
                                          b'{"cache": "n2"}').status, 401)
        self.assertEqual(self.tracker.ask(path, "PUT", ALICE, b'{"cache": "n2"}').status, 200)
        self.assertEqual(json.loads(self.tracker.ask(path, "GET", ALICE).body)["cache"], "n2")
        for digest in self.image.blobs():
            self.assertEqual(self.ask(digest, ALICE).header("x-dray-node"), "n2")
        self.tracker.kill()
        self.tracker.start()
        wait_for(lambda: self.ask(self.image.layer_digests[0], ALICE).status == 307, PATIENCE_S,
                 "a redirect again")
        self.assertEqual(json.loads(self.tracker.ask(path, "GET", ALICE).body)["cache"], "n2")
        self.assertEqual(self.tracker.ask(path, "DELETE", ALICE).status, 200)
        self.assertEqual(self.tracker.ask(path, "GET", ALICE).status, 404)

    def test_revoking_ends_tickets(self):
        self.office({"alice": "secret", "bob": "other"}, count=2)
        bob = [("Authorization", wire.basic("bob", "other"))]
        digest = self.image.layer_digests[0]
        hers, his = self.ask(digest, ALICE).header("location"), self.ask(digest, bob)
        self.assertEqual(wire.fetch(hers, "GET", []).status, 200)
        code, out, _ = self.tracker.command("users", "revoke", "alice")
        self.assertEqual((code, json.loads(out)["nodes"]), (0, 2))
        wait_for(lambda: wire.fetch(hers, "GET", []).status == 403, 5, "the ticket's end")
        self.assertEqual(self.follow(his).status, 200)
        at = self.front.mark()
        time.sleep(1.1)  # tickets name whole seconds
        self.assertEqual(self.follow(self.ask(digest, ALICE)).status, 200)
        self.assertGreater(len(self.front.requests(since=at)), 0, "the registry was asked anew")

    def test_commands(self):
        self.office(count=1)
        self.assertEqual(self.tracker.command("users", "set", "carol", "asia-office")[0], 0)
        code, out, _ = self.tracker.command("users", "get", "carol")
        self.assertEqual((code, json.loads(out)["cache"]), (0, "asia-office"))
        code, text, _ = self.tracker.command("users", "export")
        self.assertEqual((code, json.loads(text)),
                         (0, {"users": {"carol": "asia-office"}, "teams": {}}))
        file = self.stage.file("profiles.json", json.dumps({f"u{i}": "n1" for i in range(50)}))
        self.assertEqual(self.tracker.command("users", "import", file)[0], 0)
        self.assertEqual(len(json.loads(self.tracker.command("users", "list")[1])), 51)
        self.assertEqual(self.tracker.command("users", "unset", "u7")[0], 0)
        self.assertEqual(self.tracker.command("users", "get", "u7")[0], 1)
        self.assertEqual(self.tracker.command("users", "set", "bad/name", "n1")[0], 1)
        self.assertEqual(self.tracker.command("users", "revoke", "carol")[0], 0)


class Regions(Redirecting):
    def test_each_office_serves_its_own(self):
        self.office({"alice": "secret"}, count=1)
        west = self.region
        east = region.Region(self, west.upstream, region="west-office", tracker_key=self.pub,
                             mesh_key=west.key_file)
        east.key_file = west.key_file
        east.add("w1", ip="127.0.0.31")
        self.tracker.stop()
        self.tracker.config["regions"].append({"name": "west-office",
                                               "seeds": [east.nodes[0].host]})
        self.tracker.write_config()
        self.tracker.start()
        self.caches(2)
        digest, data = self.image.layer_digests[0], self.image.layers[0]
        for office, node in (("asia-office", "n1"), ("west-office", "w1")):
            self.assertEqual(self.tracker.command("users", "set", "alice", office)[0], 0)
            answer = self.ask(digest, ALICE)
            self.assertEqual(answer.header("x-dray-node"), node)
            self.assertEqual(self.follow(answer).body, data, "read through, in either region")
        members = json.loads(self.tracker.get("/api/v1/members").body)["regions"]
        self.assertEqual([r["region"] for r in members], ["asia-office", "west-office"])


class Received(Redirecting):
    """Redirected here by the registry itself: distribution's `redirect` storage middleware."""

    @staticmethod
    def storage_path(digest):
        value = digest.split(":")[1]
        return f"/docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data"

    def test_who_is_trusted_reads_by_digest(self):
        self.office(config={"trusted_redirects": ["127.0.0.0/8"]})
        digest, data = self.image.layer_digests[0], self.image.layers[0]
        path = self.storage_path(digest)
        self.assertEqual(self.tracker.get(path).status, 503, "no repository, and nobody holds it")
        whence = [("Referer", f"{self.tracker.url}/v2/{REPO}/blobs/{digest}")]
        for method in ("GET", "HEAD"):
            answer = self.tracker.get(path, method, whence)
            self.assertEqual(answer.status, 307)
        got = self.follow(self.tracker.get(path, headers=whence))
        self.assertEqual((got.status, got.body), (200, data))
        wait_for(lambda: self.tracker.get(path).status == 307, PATIENCE_S, "the holder known")
        self.assertEqual(self.follow(self.tracker.get(path)).body, data)
        for wrong in (path[:-5], path.replace("/data", "/x"), "/docker/registry/v2/blobs/x"):
            self.assertEqual(self.tracker.get(wrong).status, 404, wrong)

    def test_others_are_refused(self):
        self.office(count=1, config={"trusted_redirects": ["192.0.2.0/24"]})
        path = self.storage_path(self.image.layer_digests[0])
        self.assertEqual(self.tracker.get(path).status, 403)
        said = [("X-Forwarded-For", "192.0.2.1")]
        self.assertEqual(self.tracker.get(path, headers=said).status, 403, "not from a proxy of ours")

    def test_our_own_fetch_runs_in_no_circle(self):
        """registry.url redirects every blob to the tracker; direct_url does not."""
        self.office(count=1, config={"trusted_redirects": ["127.0.0.0/8"]})
        self.tracker.stop()
        middleware = proxy.Proxy(self.stage, self.centre.url)
        self.tracker.config["registry"] = {"url": middleware.url, "direct_url": self.front.url}
        self.tracker.write_config()
        digest, data = self.image.layer_digests[0], self.image.layers[0]
        middleware.add(proxy.redirect(self.tracker.url + self.storage_path(digest)))
        self.tracker.start()
        self.caches(1)
        got = self.follow(self.ask(digest))
        self.assertEqual((got.status, got.body), (200, data))
        self.region.nodes[0].kill()

        def streamed():
            answer = self.ask(digest)
            return answer.status == 200 and answer.body == data
        wait_for(streamed, PATIENCE_S, "a stream")


class Clients(Redirecting):
    def test_every_node_stops_during_a_pull(self):
        """ctr goes on: what was cut is asked for again, and then streamed."""
        containerd = clients.Containerd(self.stage)
        self.office()
        held, go = self.hold_layers()
        name = f"{self.tracker.host}/{REPO}:1"

        def begun():  # of a layer that has no byte yet, ctr would not ask for the rest
            rows = containerd.ctr("content", "active").out.splitlines()[1:]
            sizes = [row.split()[1] for row in rows if row.strip()]
            return len(sizes) == held and not any(size.startswith("0") for size in sizes)
        stop = self.stop_all(begun, go)
        done = containerd.ctr("images", "pull", "--plain-http", "--snapshotter", "native", name)
        stop()
        done.must()
        containerd.verify(self.image)

    def test_every_node_stops_while_docker_pulls(self):
        containerd = clients.Containerd(self.stage)
        docker = clients.Docker(self.stage, containerd)
        self.office()
        held, go = self.hold_layers()
        name = f"{self.tracker.host}/{REPO}:1"

        def begun():
            return sum(r.sent == self.HELD_AT for r in self.front.blob_gets()) == held
        stop = self.stop_all(begun, go)
        done = docker.pull(name)
        stop()
        done.must()
        docker.verify(name, self.image)

    HELD_AT = 5 << 18  # bytes of a layer that come before the nodes die: ctr writes a MiB at a time

    def hold_layers(self):
        """The registry goes on with the larger ones only once an event is set: (how many, event)."""
        go = threading.Event()
        self.addCleanup(go.set)
        held = [d for d, data in self.image.blobs().items() if len(data) > self.HELD_AT]
        self.assertGreater(len(held), 1)
        for digest in held:
            self.front.add(proxy.gate(self.HELD_AT, go), path=digest)
        return len(held), go

    def stop_all(self, begun, go):
        """kill -9 of every node at one moment, in the background, once the layers are on their way.
        Returns what waits for it, and raises what went wrong there."""
        problems = []

        def stop():
            try:
                wait_for(begun, PATIENCE_S, "layers on their way")
                for number in (signal.SIGSTOP, signal.SIGKILL):
                    for node in self.region.nodes:
                        node.process.signal(number)
                for node in self.region.nodes:
                    node.kill()
            except (AssertionError, OSError, TimeoutError) as e:
                problems.append(e)
            finally:
                go.set()
        thread = threading.Thread(target=stop)
        thread.start()

        def finish():
            thread.join()
            if problems:
                raise problems[0]
        return finish

    def test_skopeo(self):
        for auth, creds in ((None, None), ({"alice": "secret"}, "alice:secret"),
                            (self.tokens, "alice:secret")):
            self.office(auth, count=2)
            at = self.front.mark()
            for _ in range(2):
                done, folder = self.skopeo.copy(f"{self.tracker.host}/{REPO}:1", creds)
                done.must()
                self.skopeo.verify(folder, self.image)
            self.assertEqual(len(self.front.fetches(since=at)), len(self.image.blobs()))

    def test_ctr(self):
        containerd = clients.Containerd(self.stage)
        self.office({"alice": "secret"})
        name = f"{self.tracker.host}/{REPO}:1"
        at = self.front.mark()
        for _ in range(2):
            containerd.ctr("images", "pull", "--plain-http", "--snapshotter", "native", "--user",
                           "alice:secret", name).must()
            containerd.verify(self.image)
            containerd.forget(name)
        self.assertEqual(len(self.front.fetches(since=at)), len(self.image.blobs()))

    def test_docker(self):
        containerd = clients.Containerd(self.stage)
        docker = clients.Docker(self.stage, containerd)
        self.office({"alice": "secret"})
        name = f"{self.tracker.host}/{REPO}:1"
        docker.login(self.tracker.host, "alice", "secret").must()
        at = self.front.mark()
        for _ in range(2):
            docker.pull(name).must()
            docker.verify(name, self.image)
            docker.forget(name)
        self.assertEqual(len(self.front.fetches(since=at)), len(self.image.blobs()))


if __name__ == "__main__":
    suite.main()
