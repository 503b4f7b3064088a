"""The store under a running node: its bound, kill -9 at any instant, a damaged index, a rotten disk."""

import os
import random
import shutil
import threading
import time

from dray_e2e import images, proxy, suite
from dray_e2e import node as nodes
from dray_e2e.readers import Reader
from dray_e2e.stage import wait_for

REPO = "team/app"
MIB = 1 << 20


def path_of(digest):
    return f"/v2/{REPO}/blobs/{digest}"


class StoreCase(suite.Case):
    @classmethod
    def prepare(cls):
        cls.upstream = proxy.Proxy(cls.stage)

    def setUp(self):
        self.upstream.clear()

    def blob(self, size=4 * MIB, salt=""):
        data = images.random_bytes(size, self.id() + salt)
        digest = images.digest_of(data)
        self.upstream.serve_blob(REPO, data, digest)
        return data, digest

    def pull(self, node, digest, data=None):
        reader = Reader(node, path_of(digest)).finish()
        self.assertEqual((reader.status, reader.ended, reader.digest), (200, "full", digest), reader)
        if data is not None:
            self.assertEqual(reader.received, len(data))
        return reader

    def keep(self, node, digest):
        """Pulls, and waits for the blob's file: the last byte goes out before it is synced."""
        self.pull(node, digest)
        wait_for(lambda: node.held(digest), 10, "the commit")

    def slow_reader(self, node, digest):
        reader = Reader(node, path_of(digest), slow=30)
        self.addCleanup(reader.hurry.set)
        wait_for(lambda: reader.received, 10, "the slow reader")
        return reader

    def check_held(self, node, digest):
        at = self.upstream.mark()
        wait_for(lambda: self.pull(node, digest).reply.header("x-dray-source") == "store", 10,
                 "the store")
        self.assertEqual(self.upstream.fetches(digest, at), [])

    def check_disk(self, node):
        """All that is under blobs/ is what its name says."""
        for here, _, names in os.walk(os.path.join(node.store, "blobs")):
            for name in names:
                with open(os.path.join(here, name), "rb") as f:
                    self.assertEqual(images.digest_of(f.read()), f"sha256:{name}")


class Bound(StoreCase):
    def test_a_blob_larger_than_the_store(self):
        node = self.node(self.upstream.url, store={"capacity": "8MiB"})
        data, digest = self.blob(20 * MIB)
        readers = [Reader(node, path_of(digest)) for _ in range(3)]
        for reader in readers:
            reader.finish()
            self.assertEqual((reader.ended, reader.digest), ("full", digest), reader)
        self.assertFalse(node.held(digest))
        self.assertLessEqual(node.disk_bytes(), 8 * MIB)
        small, other = self.blob(MIB, "small")
        self.pull(node, other, small)
        self.check_held(node, other)

    def test_full_disk(self):
        """The file system is smaller than the capacity says: everything is still served."""
        path = self.stage.tmpfs("full", "24m")
        if not path:
            self.skipTest("a tmpfs cannot be mounted here")
        node = self.node(self.upstream.url, store={"path": path, "capacity": "1GiB"})
        for i in range(3):
            data, digest = self.blob(16 * MIB, str(i))
            self.pull(node, digest, data)
        with open(os.path.join(path, "ballast"), "wb") as f:
            try:
                while True:
                    f.write(bytes(65536))
            except OSError:
                pass
        data, digest = self.blob(2 * MIB, "no room at all")
        self.pull(node, digest, data)
        self.assertEqual(node.get("/healthz").status, 200)

    def test_kept_under_a_storm(self):
        capacity = 32 * MIB
        node = self.node(self.upstream.url, store={"capacity": "32MiB"})
        blobs = [self.blob(6 * MIB, str(i))[1] for i in range(12)]
        most, done = [0], threading.Event()

        def watch():
            while not done.wait(0.005):
                most[0] = max(most[0], node.disk_bytes())
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for turn in range(3):
                order = random.Random(turn).sample(blobs, len(blobs))
                for reader in [Reader(node, path_of(d)) for d in order]:
                    reader.finish()
                    self.assertEqual(reader.ended, "full", reader)
                    self.assertIn(reader.digest, reader.path)
        finally:
            done.set()
            watcher.join()
        self.assertLessEqual(most[0], capacity)
        self.assertGreater(most[0], capacity // 4, "something was kept")
        self.assertLessEqual(node.metric("dray_store_bytes"), capacity)
        self.assertGreater(node.metric("dray_evicted_bytes_total"), 0)
        self.check_disk(node)

    def test_reader_of_an_evicted_blob(self):
        node = self.node(self.upstream.url, store={"capacity": "24MiB"})
        _, digest = self.blob(16 * MIB)
        self.keep(node, digest)
        slow = self.slow_reader(node, digest)
        for i in range(6):
            self.pull(node, self.blob(6 * MIB, f"pressure{i}")[1])
        self.assertLessEqual(node.disk_bytes(), 24 * MIB)
        slow.hurry.set()
        slow.finish()
        self.assertEqual((slow.ended, slow.digest), ("full", digest), slow)

    def test_reader_of_a_purged_blob(self):
        node = self.node(self.upstream.url)
        _, digest = self.blob(16 * MIB)
        self.keep(node, digest)
        slow = self.slow_reader(node, digest)
        code, out, err = node.command("purge", digest)
        self.assertEqual(code, 0, out + err)
        self.assertFalse(node.held(digest))
        slow.hurry.set()
        slow.finish()
        self.assertEqual((slow.ended, slow.digest), ("full", digest), slow)
        at = self.upstream.mark()
        self.pull(node, digest)
        self.assertEqual(len(self.upstream.fetches(digest, at)), 1)


class Crash(StoreCase):
    def test_resumed_after_a_kill(self):
        node = self.node(self.upstream.url)
        data, digest = self.blob(16 * MIB)
        go = threading.Event()
        self.addCleanup(go.set)
        self.upstream.add(proxy.gate(10 * MIB, go), path=digest, times=1)
        reader = Reader(node, path_of(digest))
        partial = node.partial_path(digest)
        wait_for(lambda: os.path.exists(partial) and os.path.getsize(partial) >= 8 * MIB, 20,
                 "8 MiB on the disk")
        node.kill()
        reader.finish()
        go.set()
        node.start()
        at = self.upstream.mark()
        self.pull(node, digest, data)
        ranges = [r.range for r in self.upstream.fetches(digest, at)]
        self.assertEqual(len(ranges), 1)
        self.assertRegex(ranges[0] or "none", r"^bytes=[1-9]\d*-$")
        self.assertGreaterEqual(int(ranges[0][6:-1]), 4 * MIB)
        self.check_held(node, digest)

    def test_complete_but_not_committed(self):
        """Killed between the last byte and the commit: what is there is checked, not fetched again."""
        node = self.node(self.upstream.url)
        data, digest = self.blob(8 * MIB)
        node.stop()
        with open(node.partial_path(digest), "wb") as f:
            f.write(data)
        node.start()
        at = self.upstream.mark()
        self.pull(node, digest, data)
        self.assertLessEqual(self.upstream.body_bytes(at), 1)
        self.check_held(node, digest)

    def test_partial_that_went_bad(self):
        """A partial file whose bytes rotted between two runs never becomes a blob."""
        node = self.node(self.upstream.url)
        data, digest = self.blob(8 * MIB)
        self.upstream.add(proxy.cut(5 * MIB), path=digest, times=1)
        self.upstream.add(proxy.status(500), path=digest, when=lambda r: r.range)
        Reader(node, path_of(digest)).finish()
        node.stop()
        partial = node.partial_path(digest)
        self.assertTrue(os.path.exists(partial))
        with open(partial, "r+b") as f:
            f.seek(MIB)
            f.write(b"rotten")
        self.upstream.clear()
        node.start()
        reader = Reader(node, path_of(digest)).finish()
        if reader.ended == "full":
            self.assertEqual(reader.digest, digest)
        self.pull(node, digest, data)
        self.check_held(node, digest)

    def test_kill_again_and_again(self):
        """Whatever instant it is, nothing committed is lost and nothing wrong is served."""
        node = self.node(self.upstream.url, store={"capacity": "64MiB"})
        dice = random.Random(7)
        blobs = [self.blob(dice.randrange(MIB // 8, 5 * MIB), str(i))[1] for i in range(12)]
        for turn in range(8):
            readers = [Reader(node, path_of(d)) for d in dice.sample(blobs, 6)]
            time.sleep(dice.uniform(0.0, 0.15))
            held = [d for d in blobs if node.held(d)]
            node.kill()
            for reader in readers:
                reader.finish()
                if reader.ended == "full" and reader.status == 200:
                    self.assertIn(reader.digest, reader.path)
            node.start()
            for digest in held:
                self.check_held(node, digest)
        for digest in blobs:
            self.pull(node, digest)
        wait_for(lambda: not os.listdir(os.path.join(node.store, "ingest")), 10,
                 "no partials to be left")
        self.check_disk(node)
        self.assertEqual(node.metric("dray_store_blobs"), len(blobs))

    def test_garbage_is_cleared(self):
        node = self.node(self.upstream.url)
        _, digest = self.blob(MIB)
        self.keep(node, digest)
        node.kill()
        shard = os.path.dirname(node.blob_path(digest))
        litter = [os.path.join(node.store, "ingest", "tmp-nonsense"), os.path.join(shard, "x.tmp")]
        for path in litter:
            with open(path, "wb") as f:
                f.write(b"litter")
        liar = os.path.join(shard, os.path.basename(shard) + "0" * 62)
        with open(liar, "wb") as f:
            f.write(b"not what the name says")
        node.start()
        for path in [*litter, liar]:
            wait_for(lambda p=path: not os.path.exists(p), 10, f"{path} to be cleared")
        self.check_held(node, digest)


class Damage(StoreCase):
    def filled(self, **store):
        node = self.node(self.upstream.url, store=store)
        digests = [self.blob(MIB, str(i))[1] for i in range(4)]
        for digest in digests:
            self.keep(node, digest)
        return node, digests

    def test_index_is_rebuilt(self):
        for harm in ("missing", "garbage", "truncated", "empty"):
            for ending in ("stop", "kill"):
                with self.subTest(f"{harm} after {ending}"):
                    node, digests = self.filled()
                    getattr(node, ending)()
                    self.harm_index(os.path.join(node.store, "index"), harm)
                    node.start()
                    for digest in digests:
                        self.check_held(node, digest)
                    node.stop()

    @staticmethod
    def harm_index(folder, harm):
        if harm == "missing":
            shutil.rmtree(folder)
            return
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            size = os.path.getsize(path)
            with open(path, "r+b") as f:
                if harm == "garbage":
                    f.write(random.Random(size).randbytes(min(size, MIB)))
                else:
                    f.truncate(size // 2 // 4096 * 4096 if harm == "truncated" else 0)

    def flip(self, node, digest):
        path = node.blob_path(digest)
        with open(path, "r+b") as f:
            f.seek(MIB // 2)
            byte = f.read(1)
            f.seek(MIB // 2)
            f.write(bytes([byte[0] ^ 1]))

    def sound(self, node, digest):
        try:
            with open(node.blob_path(digest), "rb") as f:
                return images.digest_of(f.read()) == digest
        except FileNotFoundError:
            return False

    def test_scrubber_heals(self):
        node, digests = self.filled(scrub="2s")
        at = self.upstream.mark()
        self.flip(node, digests[1])
        self.assertFalse(self.sound(node, digests[1]))
        wait_for(lambda: self.sound(node, digests[1]), 40, "the flipped bit to be healed", 0.2)
        self.assertEqual(len(self.upstream.fetches(digests[1], at)), 1)
        for digest in digests:
            self.check_held(node, digest)

    def test_scrubber_without_a_source(self):
        """What cannot be fetched again is at least not served any more."""
        node, digests = self.filled(scrub="2s")
        self.upstream.add(proxy.status(404), method=None, path=digests[2])
        self.flip(node, digests[2])
        wait_for(lambda: not node.held(digests[2]), 40, "the rotten blob to be removed", 0.2)
        self.upstream.clear()
        self.pull(node, digests[2])

    def test_blob_file_that_vanished(self):
        node, digests = self.filled()
        os.unlink(node.blob_path(digests[0]))
        self.pull(node, digests[0])
        node.stop()
        os.unlink(node.blob_path(digests[1]))
        node.start()
        self.pull(node, digests[1])

    def test_blob_file_of_another_size(self):
        node, digests = self.filled()
        node.stop()
        os.chmod(node.blob_path(digests[0]), 0o600)
        os.truncate(node.blob_path(digests[0]), 1000)
        node.start()
        self.pull(node, digests[0])


class One(StoreCase):
    def test_two_nodes_on_one_store(self):
        first = self.node(self.upstream.url)
        second = nodes.Node(self.stage, self.upstream.url, start=False,
                            store={"path": first.store})
        second.start(wait=False)
        self.assertNotEqual(second.process.wait(15), 0)
        self.assertIn(first.store, second.log())
        self.assertEqual(first.get("/readyz").status, 200)
        _, digest = self.blob(MIB)
        self.pull(first, digest)

    def test_store_path_that_cannot_be(self):
        file = self.stage.file("a-file", "not a folder")
        for path in (file, "/proc/nonsense/store"):
            with self.subTest(path):
                node = nodes.Node(self.stage, self.upstream.url, start=False, store={"path": path})
                node.start(wait=False)
                self.assertNotEqual(node.process.wait(15), 0)
                self.assertIn(path, node.log())

    def test_survives_a_restart(self):
        node = self.node(self.upstream.url)
        digests = [self.blob(MIB, str(i))[1] for i in range(3)]
        for digest in digests:
            self.keep(node, digest)
        node.stop()
        node.start()
        for digest in digests:
            self.check_held(node, digest)


if __name__ == "__main__":
    suite.main()
