"""Several trackers behind one name: any of them answers, what is changed at one counts at all, and one that
dies is not missed. Teams, and profiles that users change themselves."""

import json
import os
import signal
import subprocess
import threading
import time

from dray_e2e import balancer, clients, images, proxy, region, registry, suite, tokens, tracker, wire
from dray_e2e import node as nodes_path
from dray_e2e.stage import wait_for

REPO = "team/app"
ALICE = [("Authorization", wire.basic("alice", "secret"))]
BOB = [("Authorization", wire.basic("bob", "other"))]
PATIENCE_S = region.PATIENCE_S
MIB = 1 << 20


class Office(suite.Case):
    """A registry behind a counting proxy, nodes of one region, and trackers before all."""

    @classmethod
    def prepare(cls):
        cls.image = images.small("trackers")

    def setUp(self):
        self.mine = len(self.nodes)

    def tearDown(self):
        """All of this test's at once; the class looks at how they ended."""
        living = [n for n in self.nodes[self.mine:] if n.process and n.process.running()]
        for node in living:
            node.process.signal(signal.SIGTERM)
        for node in living:
            node.await_end()

    def keys(self, name):
        paths = [os.path.join(self.stage.path, name + end) for end in (".key", ".pub")]
        subprocess.run([nodes_path.PROGRAM, "keygen", "ticket", *paths], check=True,
                       capture_output=True)
        return paths

    def office(self, auth=None, trackers=2, nodes=2, shared=None, **node):
        """`shared`: the URL of the name that all trackers stand behind."""
        self.centre = registry.Registry(self.stage, auth)
        self.centre.push(REPO, "1", self.image)
        self.front = proxy.Proxy(self.stage, self.centre.url)
        self.key, pub = self.keys(f"tickets-{self.front.port}")
        upstream = {"name": f"127.0.0.1:{self.front.port}", "url": self.front.url}
        self.region = region.Region(self, [upstream], region="asia-office", tracker_key=pub, **node)
        self.region.start(nodes)
        self.trackers = [self.one_tracker(i, self.key, shared) for i in range(trackers)]
        for t in self.trackers:
            t.config["trackers"] = [other.url for other in self.trackers]  # the same list on each
            t.write_config()
            t.start()
            self.nodes.append(t)
        for t in self.trackers:
            self.caches(t, nodes)
            self.exchanging(t)
        return self.trackers

    def one_tracker(self, i, key, shared=None):
        config = {"name": f"t{i + 1}", "mesh_key": self.region.key_file, "ticket_key": key,
                  "regions": [{"name": "asia-office", "seeds": [self.region.nodes[0].host]}]}
        if shared:
            config["public_url"] = shared
        return tracker.Tracker(self.stage, self.front.url, start=False, ip=f"127.0.0.{i + 101}",
                               **config)

    @staticmethod
    def caches(t, count):
        def known():
            found = json.loads(t.admin("GET", "/api/v1/caches").body)["caches"]
            return sum(c["fit"] for c in found) == count
        wait_for(known, PATIENCE_S, f"{count} nodes known")

    def exchanging(self, t, states=("ok", "self")):
        def seen():
            status = json.loads(t.admin("GET", "/api/v1/status").body)
            return sorted(o["state"] for o in status["trackers"])
        count = len(t.config["trackers"])
        want = sorted([states[0]] * (count - 1) + [states[1]])
        wait_for(lambda: seen() == want, PATIENCE_S, f"{want} at {t.config['name']}")

    @staticmethod
    def ask(t, digest, headers=()):
        return t.get(f"/v2/{REPO}/blobs/{digest}", "GET", headers)

    def follow(self, answer):
        self.assertEqual(answer.status, 307, answer.body)
        return wire.fetch(answer.header("location"), "GET", [])

    @staticmethod
    def profile(t, user):
        answer = t.admin("GET", f"/api/v1/users/{user}")
        return answer.json().get("cache") if answer.status == 200 else None

    def set(self, t, user, cache):
        code, _, err = t.command("users", "set", user, cache)
        self.assertEqual(code, 0, err)

    def becomes(self, t, user, cache):
        wait_for(lambda: self.profile(t, user) == cache, PATIENCE_S,
                 f"{user}'s cache {cache} at {t.config['name']}")


class Exchange(Office):
    def test_a_profile_counts_everywhere(self):
        a, b = self.office({"alice": "secret"})
        digest = self.image.layer_digests[0]
        for cache in ("n2", "n1", "n2"):
            self.set(a, "alice", cache)
            self.becomes(b, "alice", cache)
            wait_for(lambda c=cache: self.ask(b, digest, ALICE).header("x-dray-node") == c,
                     PATIENCE_S, f"a redirect to {cache} by the other tracker")
        self.assertEqual(b.command("users", "unset", "alice")[0], 0)
        self.becomes(a, "alice", None)

    def test_three_and_many(self):
        """Also what is set at all of them at once, by a file each."""
        everyone = self.office(trackers=3, nodes=1)
        for i, t in enumerate(everyone):
            file = self.stage.file(f"many-{i}.json",
                                   json.dumps({f"u{i}-{k}": "n1" for k in range(60)}))
            self.assertEqual(t.command("users", "import", file)[0], 0)
        for t in everyone:
            wait_for(lambda t=t: t.metric("dray_profiles") == 180, PATIENCE_S, "all profiles")

    def test_one_that_was_away_catches_up(self):
        a, b = self.office(nodes=1)
        for user in ("alice", "bob"):
            self.set(a, user, "n1")
            self.becomes(b, user, "n1")
        a.kill()
        self.assertEqual(b.command("users", "unset", "alice")[0], 0)
        self.set(b, "bob", "asia-office")
        self.set(b, "carol", "n1")
        self.assertEqual(b.command("teams", "set", "web", "n1")[0], 0)
        self.exchanging(b, ("away", "self"))
        b.kill()  # and what it was told is on its disk
        b.start()
        a.start()
        for user, cache in (("alice", None), ("bob", "asia-office"), ("carol", "n1")):
            self.becomes(a, user, cache)
            self.becomes(b, user, cache)
        teams = json.loads(a.admin("GET", "/api/v1/teams").body)
        self.assertEqual(teams, {"web": {"cache": "n1", "members": []}})

    def test_strangers_are_refused(self):
        """Who has the mesh key, but not the trackers' ticket key."""
        a, b = self.office(nodes=1)
        stranger = self.one_tracker(5, self.keys("stranger")[0])
        stranger.config["trackers"] = [t.url for t in (a, b)]
        stranger.write_config()
        stranger.start()
        self.nodes.append(stranger)
        self.caches(stranger, 1)
        self.set(stranger, "alice", "n1")
        wait_for(lambda: a.metrics().get('dray_tracker_exchanges_total{result="refused"}', 0) > 1,
                 PATIENCE_S, "refusals")
        self.set(a, "bob", "n1")
        self.becomes(b, "bob", "n1")
        for t in (a, b):
            self.assertIsNone(self.profile(t, "alice"))
        self.assertIsNone(self.profile(stranger, "bob"))
        path = "/mesh/v1/trackers"
        for body in (b"", b"x" * 57, b"\x01" + os.urandom(5000), os.urandom(60000)):
            self.assertEqual(a.ask(path, "POST", [], body).status, 403)
        self.assertEqual(a.ask(path).status, 405)

    def test_without_a_ticket_key_there_is_no_list(self):
        code, _, err = tracker.run("--check-config", "--public_url", "http://t", "--registry.url",
                                   "http://r", "--config",
                                   self.stage.file("bad.yaml", "trackers: [http://other]\n"))
        self.assertEqual(code, 1)
        self.assertIn("ticket_key", err)


class Revoked(Office):
    def test_at_one_is_revoked_at_all(self):
        a, b = self.office({"alice": "secret", "bob": "other"})
        digest = self.image.layer_digests[0]
        hers = [self.ask(t, digest, ALICE).header("location") for t in (a, b)]
        his = self.ask(b, digest, BOB).header("location")
        for url in (*hers, his):
            self.assertEqual(wire.fetch(url, "GET", []).status, 200)
        at = self.front.mark()
        self.assertEqual(self.ask(b, digest, ALICE).status, 307)
        self.assertEqual(len(self.front.requests(since=at)), 0, "remembered until then")
        self.assertEqual(a.command("users", "revoke", "alice")[0], 0)
        for url in hers:
            wait_for(lambda u=url: wire.fetch(u, "GET", []).status == 403, PATIENCE_S,
                     "the end of a ticket")
        self.assertEqual(wire.fetch(his, "GET", []).status, 200)

        def asked_anew():
            before = self.front.mark()
            self.ask(b, digest, ALICE)
            return len(self.front.requests(since=before)) > 0
        wait_for(asked_anew, PATIENCE_S, "the other tracker to ask the registry anew")
        for node in self.region.nodes:  # and it outlives a node that has written it
            wait_for(lambda n=node: os.path.exists(os.path.join(n.store, "revoked")), PATIENCE_S,
                     "a revocation on the disk")
            node.kill()
            node.start()
        self.region.wait_all()
        for url in hers:
            self.assertEqual(wire.fetch(url, "GET", []).status, 403)
        self.assertEqual(wire.fetch(his, "GET", []).status, 200)

    def test_nodes_that_were_down_are_told_when_they_are_back(self):
        a, _ = self.office({"alice": "secret"})
        digest = self.image.layer_digests[0]
        self.set(a, "alice", "n2")
        url = self.ask(a, digest, ALICE).header("location")
        self.assertEqual(wire.fetch(url, "GET", []).status, 200)
        node = self.region.nodes[1]
        node.kill()
        self.assertEqual(a.command("users", "revoke", "alice")[0], 0)
        node.start()
        wait_for(lambda: wire.fetch(url, "GET", []).status == 403, PATIENCE_S, "the ticket's end")


class Gone(Office):
    """One of two is killed -9."""

    def test_a_layer_is_read_through_the_other(self):
        a, b = self.office({"alice": "secret"}, nodes=1)
        data = self.image.blobs()
        locations = {d: self.ask(a, d, ALICE).header("location") for d in data}
        time.sleep(0.5)  # the login crosses in milliseconds; nothing can be seen of it from outside
        a.kill()
        at = self.front.mark()
        for digest, url in locations.items():
            def got(url=url, digest=digest):
                answer = wire.fetch(url, "GET", [])
                return answer.status == 200 and answer.body == data[digest]
            wait_for(got, PATIENCE_S, "the layer")
        self.assertGreaterEqual(len(self.front.fetches(since=at)), len(data))
        self.assertGreater(b.metrics()['dray_served_bytes_total{source="through"}'], 0)
        for node in self.region.nodes:
            self.assertNotIn("secret", node.log())
        for t in (a, b):
            self.assertNotIn(wire.basic("alice", "secret")[6:], t.log())

    def stage_pull(self):
        """An image whose largest layer stops on its way out of the registry until `self.killed`."""
        self.shared = balancer.Balancer(self.stage)
        self.office({"alice": "secret"}, shared=self.shared.url)
        self.shared.servers = [t.host for t in self.trackers]
        self.killed = threading.Event()
        sizes = {d: len(data) for d, data in self.image.blobs().items()}
        self.late = max(sizes, key=sizes.get)
        self.front.add(proxy.gate(MIB, self.killed, PATIENCE_S), path=self.late)
        return f"{self.shared.host}/{REPO}:1"

    def on_its_way(self):
        """All layers were asked for, one is half here, the others are: nobody's request is at a tracker.

        One that is, is lost with it: containerd reads EOF on a new connection, which it does not ask
        again, and neither does docker for an image's config. Its user pulls again."""
        if sum(n.metric("dray_tickets_total") for n in self.region.nodes) < len(self.image.blobs()):
            return False
        here = {d for d in self.image.blobs() if any(n.held(d) for n in self.region.nodes)}
        halfway = any(r.sent >= MIB for r in self.front.fetches(self.late))
        return halfway and here == self.image.blobs().keys() - {self.late}

    def pull(self, pulling):
        """One tracker dies half way, the one that more was read through."""
        def kill_one():
            try:
                wait_for(self.on_its_way, PATIENCE_S, "one layer half here, all others whole")
                self.gone = max(self.trackers, key=lambda t: t.metric(
                    'dray_served_bytes_total{source="through"}'))
                self.gone.kill()
            finally:
                self.killed.set()
        thread = threading.Thread(target=kill_one)
        thread.start()
        done = pulling()
        thread.join()
        self.assertFalse(self.gone.process.running())
        return done

    def test_ctr_does_not_notice(self):
        containerd = clients.Containerd(self.stage)
        name = self.stage_pull()

        def pull():
            return containerd.ctr("images", "pull", "--plain-http", "--snapshotter", "native", "--user",
                                  "alice:secret", name)
        self.pull(pull).must()
        containerd.verify(self.image)
        containerd.forget(name)
        pull().must()
        containerd.verify(self.image)

    def test_docker_does_not_notice(self):
        containerd = clients.Containerd(self.stage)
        docker = clients.Docker(self.stage, containerd)
        name = self.stage_pull()
        docker.login(self.shared.host, "alice", "secret").must()
        self.pull(lambda: docker.pull(name)).must()
        docker.verify(name, self.image)
        docker.forget(name)
        docker.pull(name).must()
        docker.verify(name, self.image)


class Watched(Office):
    """A tracker holds a line to each node."""

    def test_who_dies_is_not_chosen_from_then_on(self):
        a, b = self.office(trackers=2, nodes=2)
        digest = self.image.layer_digests[0]
        for t in (a, b):
            wait_for(lambda t=t: t.metric("dray_nodes_watched") == 2, PATIENCE_S, "two lines")
        for turn in range(3):
            first = self.ask(a, digest).header("x-dray-node")
            victim = next(n for n in self.region.nodes if n.config["name"] == first)
            victim.kill()
            for t in (a, b):
                wait_for(lambda t=t: t.log().count("its line ended") == turn + 1, PATIENCE_S,
                         "the end of a line")
                self.assertNotEqual(self.ask(t, digest).header("x-dray-node"), first)
            victim.start()
            for t in (a, b):
                wait_for(lambda t=t: t.metric("dray_nodes_watched") == 2, PATIENCE_S, "its line")
                known = json.loads(t.get("/api/v1/why?user=x").body)["candidates"]
                self.assertTrue(all(c["usable"] for c in known), "chosen again at once")

    def test_a_held_port_waits_for_its_node(self):
        """As systemd's do: who connects while the node is down is served when it is up again."""
        t, = self.office(trackers=1, nodes=1)
        node = self.region.nodes[0]
        digest, data = self.image.layer_digests[0], self.image.layers[0]
        node.stop()
        node.hold()
        node.start()
        self.caches(t, 1)
        url = wait_for(lambda: self.ask(t, digest).header("location"), PATIENCE_S, "a redirect")
        self.assertEqual(wire.fetch(url, "GET", []).body, data)
        node.kill()
        got = []
        waiting = threading.Thread(target=lambda: got.append(wire.fetch(url, "GET", [])))
        waiting.start()
        node.start()
        waiting.join(PATIENCE_S)
        self.assertEqual([a.body == data for a in got], [True])

    def test_lines_are_for_trackers(self):
        self.office(trackers=1, nodes=1)
        node = self.region.nodes[0]
        self.assertEqual(node.get("/mesh/v1/watch").status, 403)
        self.assertEqual(node.get("/mesh/v1/watch", "HEAD").status, 405)


class Teams(Office):
    def test_a_teams_cache_is_its_members(self):
        t, = self.office({"alice": "secret"}, trackers=1)
        digest = self.image.layer_digests[0]

        def node():
            return self.ask(t, digest, ALICE).header("x-dray-node")
        for cache in ("n2", "n1"):
            self.assertEqual(t.command("teams", "set", "web", cache)[0], 0)
            self.assertEqual(t.command("teams", "add", "web", "alice", "bob")[0], 0)
            self.assertEqual(node(), cache)
        self.set(t, "alice", "n2")
        self.assertEqual(node(), "n2", "her own comes first")
        known = json.loads(t.admin("GET", "/api/v1/users/alice").body)
        self.assertEqual(known, {"user": "alice", "cache": "n2", "team": "web", "from": "profile"})
        code, out, _ = t.command("users", "get", "bob")
        self.assertEqual((code, json.loads(out)["from"]), (0, "team"))
        # All of it as a file, and back.
        code, text, _ = t.command("users", "export")
        whole = json.loads(text)
        whole["teams"]["web"]["members"].sort()
        self.assertEqual((code, whole), (0, {
            "users": {"alice": "n2"},
            "teams": {"web": {"cache": "n1", "members": ["alice", "bob"]}}}))
        self.assertEqual(t.command("teams", "unset", "web")[0], 0)
        self.assertEqual(t.command("users", "unset", "alice")[0], 0)
        self.assertEqual(t.command("users", "get", "bob")[0], 1)
        self.assertEqual(t.command("teams", "get", "web")[0], 1)
        self.assertEqual(t.command("users", "import", "-", stdin=text)[0], 0)
        self.assertEqual(self.profile(t, "alice"), "n2")
        self.assertEqual(self.profile(t, "bob"), "n1")
        self.assertEqual(t.command("teams", "remove", "web", "bob")[0], 0)
        self.assertEqual(t.command("teams", "remove", "web", "bob")[0], 1)
        self.assertIsNone(self.profile(t, "bob"))

    def test_the_api(self):
        t, = self.office(trackers=1, nodes=1)
        path = "/api/v1/teams/web"

        def put(body, where=path):
            return t.ask(where, "PUT", [], json.dumps(body).encode())
        self.assertEqual(put({"cache": "n1", "members": ["a", "b", "b", "c"]}).json()["changes"], 4)
        self.assertEqual(put({"members": ["b", "d"]}).json()["changes"], 3)
        team = t.get(path).json()
        self.assertEqual((team["cache"], sorted(team["members"])), ("n1", ["b", "d"]))
        self.assertEqual(put({"cache": "asia-office"}, "/api/v1/teams/db").status, 200)
        self.assertEqual(t.ask("/api/v1/teams/db/members/b", "PUT").status, 200)
        self.assertEqual(t.get(path).json()["members"], ["d"], "one team at a time")
        for bad in ({}, [], {"members": "b"}, {"members": [7]}, {"members": ["a/b"]}, {"cache": ""},
                    {"cache": "no such name"}, {"members": ["x" * 300]}):
            self.assertEqual(put(bad).status, 400, bad)
        for bad in ("/api/v1/teams/a%2fb", "/api/v1/teams/web/members/", "/api/v1/teams/web/x/y"):
            self.assertEqual(put({"cache": "n1"}, bad).status, 400, bad)
        self.assertEqual(t.get("/api/v1/teamsters").status, 404)
        self.assertEqual(put({"members": [f"m{i}" for i in range(5000)]}).status, 200)
        self.assertEqual(len(t.get(path).json()["members"]), 5000)
        self.assertEqual(t.ask(path, "DELETE").status, 200)
        self.assertEqual(t.get(path).status, 404)
        self.assertEqual(list(t.get("/api/v1/teams").json()), ["db"])


class Own(Office):
    """Users change their own profile with the login that they pull with."""

    @classmethod
    def prepare(cls):
        super().prepare()
        cls.tokens = tokens.TokenServer(cls.stage, {
            "alice": ("secret", {REPO: {"pull", "push"}}), "bob": ("other", {})})

    def test_with_a_token_service(self):
        """The registry takes no Basic; its token service does."""
        t, = self.office(self.tokens, trackers=1, nodes=1)
        t.stop()
        t.config["admin"] = {"allow": []}
        t.config["registry"]["allow_hosts"] = [f"127.0.0.1:{self.tokens.port}"]
        t.write_config()
        t.start()
        path, body = "/api/v1/users/alice", b'{"cache": "n1"}'
        self.assertEqual(t.ask(path, "PUT", ALICE, body).status, 200)
        self.assertEqual(t.ask(path, "GET", ALICE).json()["cache"], "n1")
        self.assertEqual(t.ask("/api/v1/users/bob", "PUT", ALICE, body).status, 401)
        for who in ([], BOB, [("Authorization", wire.basic("alice", "wrong"))]):
            self.assertEqual(t.ask(path, "PUT", who, body).status, 401)
        # A token that a client has already does as well, if it is that user's.
        for user, status in (("alice", 200), ("bob", 401), ("", 401)):
            bearer = [("Authorization", self.tokens.bearer(REPO, user=user))]
            self.assertEqual(t.ask(path, "GET", bearer).status, status, user)

    def test_a_foreign_token_service_gets_no_password(self):
        t, = self.office(self.tokens, trackers=1, nodes=1)
        t.stop()
        t.config["admin"] = {"allow": []}
        t.write_config()
        t.start()
        before = len(self.tokens.asked)
        answer = t.ask("/api/v1/users/alice", "PUT", ALICE, b'{"cache": "n1"}')
        self.assertEqual(answer.status, 401)
        self.assertIn(b"allow_hosts", answer.body)
        self.assertEqual(len(self.tokens.asked), before)


if __name__ == "__main__":
    suite.main()
