"""Attempts to learn or to get more than one's right, and to make the cache say what is not so."""

import json
import signal
import threading
import time

from dray_e2e import images, proxy, suite, wire
from dray_e2e.stage import wait_for

FILLS_MAX = 256  # LIMIT_FILLS
MEMBER = ("Authorization", wire.basic("member", "x"))
STRANGER = ("Authorization", wire.basic("stranger", "x"))
REFUSAL = b'{"errors":[{"code":"DENIED","message":"not for you"}]}'


def members_only(exchange):
    if exchange.record.header("authorization") == MEMBER[1]:
        exchange.forward()
    else:
        exchange.answer(403, [("Content-Type", "application/json")], REFUSAL)


class Review(suite.Case):
    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)
        cls.upstream.add(members_only, method=None, path="^/v2/team/")
        cls.server = cls.node(cls.upstream.url)

    def test_no_room_tells_nothing(self):
        """With all fetches taken, a stranger still gets the registry's refusal, held or not."""
        held, cold = images.random_bytes(5000, "held"), images.random_bytes(5000, "cold")
        for data in (held, cold):
            self.upstream.serve_blob("team/app", data, images.digest_of(data))
        self.assertEqual(self.server.blob("team/app", images.digest_of(held), [MEMBER]).body, held)
        event = threading.Event()
        self.addCleanup(event.set)
        self.upstream.add(proxy.gate(10, event), path="^/v2/slow/")
        replies = []
        for i in range(FILLS_MAX):
            data = images.random_bytes(100, f"slow {i}")
            digest = images.digest_of(data)
            self.upstream.serve_blob("slow/app", data, digest)
            replies.append(self.server.open(f"/v2/slow/app/blobs/{digest}"))
            self.addCleanup(replies[-1].close)
        wait_for(lambda: self.server.metric("dray_fetches") == FILLS_MAX)
        for data in (held, cold):
            got = self.server.blob("team/app", images.digest_of(data), [STRANGER])
            self.assertEqual((got.status, got.body), (403, REFUSAL))
        got = self.server.blob("team/app", images.digest_of(cold), [MEMBER])
        self.assertEqual(got.status, 503, "a member is told that there is no room")
        event.set()
        for reply in replies:
            self.assertEqual(len(reply.read_all()), 100)
        wait_for(lambda: self.server.metric("dray_fetches") == 0)
        got = self.server.blob("team/app", images.digest_of(cold), [MEMBER])
        self.assertEqual((got.status, got.body), (200, cold))

    def test_another_type_for_the_same_bytes(self):
        """Who pushes a manifest's bytes elsewhere as another type does not decide how they are told."""
        image = images.tiny("typed")
        for text in (image.manifest, json.dumps({"layers": [], "config": {}}).encode()):
            digest = images.digest_of(text)
            true = image.media_type if text == image.manifest else images.OCI["manifest"]
            false = images.OCI["index"]
            for repository, media_type in (("mallory/x", false), ("alice/x", true)):
                self.upstream.serve(f"/v2/{repository}/manifests/{digest}", text, media_type,
                                    [("Docker-Content-Digest", digest)])
            for repository, want in (("mallory/x", false), ("alice/x", true), ("alice/x", true),
                                     ("mallory/x", false)):
                got = self.server.get(f"/v2/{repository}/manifests/{digest}")
                self.assertEqual((got.status, got.body), (200, text))
                if repository == "alice/x":
                    self.assertEqual(got.header("content-type"), want)

    def test_an_empty_answer_is_no_layer(self):
        data = images.random_bytes(5000, "emptied")
        path = f"/v2/open/app/blobs/{images.digest_of(data)}"
        self.upstream.serve_blob("open/app", data, images.digest_of(data))
        rule = self.upstream.add(lambda x: x.answer(200), path=path)
        got = self.server.get(path)
        self.assertEqual(got.status, 502)
        rule.left = 0
        self.assertEqual(self.server.get(path).body, data)

    def test_told_to_end_again_and_again(self):
        """However often it is told, it ends in order."""
        data = images.random_bytes(1 << 20, "ended")
        path = f"/v2/open/app/blobs/{images.digest_of(data)}"
        self.upstream.serve_blob("open/app", data, images.digest_of(data))
        for pause in (0, 0.001, 0.02):
            node = self.node(self.upstream.url)
            self.upstream.add(proxy.paced(4 << 20), path=path, times=1)
            reply = node.open(path)
            self.addCleanup(reply.close)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT) * 10:
                node.process.signal(number)
                time.sleep(pause)
            self.assertEqual(node.process.wait(20), 0)
            node.check_log()


if __name__ == "__main__":
    suite.main()
