"""The tracker's page in a real browser, before a real mesh, and before one that the test makes up."""

import json
import os
import subprocess
from urllib.parse import urlsplit

from dray_e2e import browser, clients, images, lookalike, region, registry, suite, tracker
from dray_e2e import node as nodes_path
from dray_e2e.stage import wait_for

REPO = "website/ui"
PATIENCE_S = region.PATIENCE_S
PHONE, WIDE = (360, 740), (1440, 900)
TOKEN = "open-sesame-0123456789"
READY = "document.body.dataset.ready"


class Looking(suite.Case):
    def browse(self, width, height, dark=False):
        if not browser.PROGRAM:
            self.skipTest("chromium is not installed")
        look = browser.Browser(self.stage, width, height, dark)
        self.addCleanup(look.close)
        return look

    def assert_quiet(self, look, url):
        """Nothing on the console, nothing from elsewhere, nothing wider than the window."""
        self.assertEqual(look.console, [])
        hosts = {urlsplit(r["url"]).netloc for r in look.requests}
        self.assertEqual(hosts, {urlsplit(url).netloc})
        self.assertLessEqual(look.overflow(), 0)


class RealMesh(Looking):
    """One registry, a tracker, two racks; an image pulled twice."""

    @classmethod
    def prepare(cls):
        cls.image = images.small("ui")
        cls.centre = registry.Registry(cls.stage)
        cls.centre.push(REPO, "3", cls.image)
        key, pub = (os.path.join(cls.stage.path, "ticket" + end) for end in (".key", ".pub"))
        subprocess.run([nodes_path.PROGRAM, "keygen", "ticket", key, pub], check=True,
                       capture_output=True)
        cls.region = region.Region(cls, [{"name": "registry.example.org", "url": cls.centre.url}],
                                   region="asia-office", tracker_key=pub)
        cls.region.start(2)
        cls.tracker = tracker.Tracker(
            cls.stage, cls.centre.url, mesh_key=cls.region.key_file, ticket_key=key,
            regions=[{"name": "asia-office", "seeds": [cls.region.nodes[0].host]}],
            admin={"token": cls.stage.file("admin.token", TOKEN + "\n"),
                   "allow": ["10.99.0.0/16"]})
        cls.nodes.append(cls.tracker)
        cls.auth = [("Authorization", "Bearer " + TOKEN)]
        wait_for(lambda: len(cls.rows(cls)) == 2, PATIENCE_S, "both racks on the overview")
        skopeo = clients.Skopeo(cls.stage)
        for _ in range(2):
            done, folder = skopeo.copy(f"{cls.tracker.host}/{REPO}:3")
            done.must()
            skopeo.verify(folder, cls.image)
        cls.layers = sum(len(data) for data in cls.image.blobs().values())

    def overview(self, headers=()):
        return self.tracker.get("/api/v1/overview", headers=[*self.auth, *headers])

    def rows(self):
        doc = json.loads(RealMesh.overview(self).body)
        return [dict(zip(doc["columns"], m)) for r in doc["regions"] for m in r["members"]]

    def wait_totals(self):
        """What the nodes tell arrives a moment after a pull."""
        def told():
            doc = json.loads(self.overview().body)
            return doc["totals"]["served"] >= 2 * self.layers and not doc["totals"]["serving"] and doc
        return wait_for(told, PATIENCE_S, "the nodes' totals")

    def test_the_overview_says_what_happened(self):
        doc = self.wait_totals()
        totals = doc["totals"]
        self.assertEqual(totals["served"], 2 * self.layers)
        self.assertEqual(totals["wan"], self.layers, "one copy of each crosses the line")
        self.assertEqual(totals["saved"], self.layers)
        self.assertEqual(doc["regions"][0]["totals"], totals)
        self.assertEqual(sum(n for _, n in doc["redirects"]), 2 * len(self.image.blobs()))
        self.assertEqual(sum(sum(b[4]) for b in doc["buckets"]), 2 * len(self.image.blobs()))
        for digest, data in self.image.blobs().items():
            pulls = [p for p in doc["pulls"] if p["digest"] == digest]
            self.assertEqual(sum(p["times"] for p in pulls), 2)
            self.assertEqual(sum(p["bytes"] for p in pulls), 2 * len(data))
            for p in pulls:
                self.assertEqual((p["repository"], p["region"], p["outcome"], p["running"],
                                  p["prefix"]),
                                 (REPO, "asia-office", "done", 0, "127.0.0.0/24"))
        wait_for(lambda: sum(m["layers"] for m in self.rows()) >= len(self.image.blobs()),
                 PATIENCE_S, "what the racks hold")

    def test_who_has_seen_it_gets_304(self):
        self.wait_totals()

        def unchanged():
            tag = self.overview().header("etag")
            return self.overview([("If-None-Match", tag)]).status == 304
        wait_for(unchanged, PATIENCE_S, "304")

    def test_without_a_token_there_is_no_data(self):
        for headers in ([], [("Authorization", "Bearer wrong")]):
            refused = self.tracker.get("/api/v1/overview", headers=headers)
            self.assertEqual(refused.status, 401)
            page = self.tracker.get("/ui/", headers=headers)
            self.assertEqual(page.status, 401)
            self.assertNotIn(b"asia-office", page.body)
        page = self.tracker.get("/ui/", headers=self.auth)
        self.assertEqual(page.status, 200)
        policy = page.header("content-security-policy")
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        again = self.tracker.get("/ui/ui.js", headers=[
            ("If-None-Match", self.tracker.get("/ui/ui.js").header("etag"))])
        self.assertEqual(again.status, 304)
        self.assertEqual(self.tracker.get("/ui").header("location"), "/ui/")
        for path in ("/ui/nothing", "/ui/../api/v1/overview", "/ui/%2e%2e/", "/ui/ui.js/"):
            self.assertEqual(self.tracker.get(path).status, 404, path)
        self.assertEqual(self.tracker.get("/ui/", "POST").status, 405)
        self.assertEqual(self.tracker.get("/uix").status, 404)

    def test_the_page_shows_it(self):
        self.wait_totals()
        look = self.browse(*PHONE)
        look.open(self.tracker.url + "/ui/")
        look.wait("!document.getElementById('gate').hidden")
        self.assertIn("admin token", look.text())
        self.assertNotIn("asia-office", look.text())
        self.give(look, "wrong")
        look.wait("document.getElementById('refused').textContent")
        self.give(look, TOKEN)
        look.wait(READY)
        look.wait("document.querySelectorAll('.box').length === 2")
        text = look.text()
        reason = json.loads(self.overview().body)["redirects"][0][0]
        for what in ("asia-office", "n1", "n2", "2 of 2 racks well", "rack-n1", REPO,
                     "127.0.0.0/24", reason, "live"):
            self.assertIn(what, text.replace("\n", " "))
        self.assertLessEqual(look.overflow(), 0)
        for request in look.requests:
            self.assertNotIn(TOKEN, request["url"])
        sent = [r for r in look.requests if r["url"].endswith("/overview")]
        self.assertIn("Bearer " + TOKEN, [r["headers"].get("Authorization") for r in sent])
        self.assertEqual([c for c in look.console if "401" not in c], [])
        self.assertEqual(look.run("localStorage.length + document.cookie.length"), 0)

        look.open(self.tracker.url + "/ui/")  # the tab remembers
        look.wait(READY)
        look.look_as(*WIDE)
        look.run("document.querySelector('.box').click()")
        panel = "document.getElementById('inspector').innerText"
        self.assertIn(self.region.nodes[0].host, look.wait(panel))
        self.assertLessEqual(look.overflow(), 0)

    @staticmethod
    def give(look, token):
        look.run(f"document.getElementById('token').value = {json.dumps(token)};"
                 "document.getElementById('gate').requestSubmit()")

    def test_then_a_rack_dies(self):
        """Last by its name: what dies stays dead."""
        look = self.browse(*WIDE)
        look.open(self.tracker.url + "/ui/")
        look.wait("!document.getElementById('gate').hidden")
        self.give(look, TOKEN)
        look.wait("document.querySelectorAll('.box.well').length === 2")
        self.region.nodes[1].kill()
        look.wait("document.querySelectorAll('.box.bad').length === 1", timeout=4 * PATIENCE_S)
        self.assertIn("dead", look.text())
        self.assertIn("1 of 2", look.text().replace("\n", " "))


class MadeUp(Looking):
    def show(self, doc, width, height, dark=False, **more):
        stand = lookalike.Lookalike(doc, **more)
        self.addCleanup(stand.close)
        look = self.browse(width, height, dark)
        look.open(stand.url)
        look.wait(READY)
        return look, stand

    def test_a_thousand_racks(self):
        doc = lookalike.busy({"asia": 620, "europe": 280, "americas": 100}, dead=("asia-rack-7",))
        for size in (PHONE, WIDE):
            look, stand = self.show(doc, *size)
            self.assertEqual(look.run("document.querySelectorAll('.box').length"), 1000)
            self.assertEqual(look.run("document.querySelectorAll('.box.bad').length"), 1)
            self.assertIn("999 of 1,000", look.text().replace("\n", " "))
            wait_for(lambda s=stand: s.same > 2, PATIENCE_S, "answers that nothing is new")
            self.assert_quiet(look, stand.url)

    def test_an_empty_mesh(self):
        look, stand = self.show(lookalike.empty(["asia-office"]), *PHONE)
        self.assertIn("Nobody has asked for a layer yet", look.text())
        self.assertIn("0 of 0", look.text().replace("\n", " "))
        self.assert_quiet(look, stand.url)
        look, stand = self.show(lookalike.empty(), *WIDE, dark=True)
        self.assertIn("No region is configured", look.text())
        self.assert_quiet(look, stand.url)

    def test_names_are_text(self):
        evil = "<img src=x onerror=document.title='owned'>"
        doc = lookalike.busy({evil: 3, "w" * 64: 40})
        for group in doc["regions"]:
            for i, m in enumerate(group["members"]):
                m[0], m[1], m[15] = f"{evil}{i}", "\"'><script>" + evil, "javascript:" + evil
        for pull in doc["pulls"]:
            pull.update(node=evil + "w" * 300, repository="a/" * 120 + "x", region=evil)
        doc["redirects"].append([evil, 5])
        doc["name"] = doc["version"] = doc["public_url"] = evil
        doc["registry"].update(url=evil, error=evil, state="down")
        for size in (PHONE, WIDE):
            look, stand = self.show(doc, *size)
            look.run("document.querySelector('.box').click()")
            self.assertEqual(look.run("document.querySelectorAll('main img, main script, a').length"), 0)
            self.assertIn(evil, look.text())
            self.assertNotEqual(look.run("document.title"), "owned")
            self.assert_quiet(look, stand.url)

    def test_a_tracker_that_goes_silent(self):
        look, stand = self.show(lookalike.busy({"asia": 4}), *WIDE)
        stand.doc = None
        look.wait("document.getElementById('pill').textContent.includes('last heard')")
        stand.doc = lookalike.busy({"asia": 5})
        look.wait("document.getElementById('pill').textContent === 'live'")
        look.wait("document.querySelectorAll('.box').length === 5")


if __name__ == "__main__":
    suite.main()
