"""Real multi-layer images, made from this machine's own files.

A layer is a gzipped tar of files picked from /usr in name order, up to a size, with fixed times and
owners. The same machine thus gives the same image, and nothing is fetched from anywhere. `salt`
makes another image of the same kind. Layers are kept in memory: tests use a few MB, the demo some
hundred.
"""

import gzip
import hashlib
import io
import json
import os
import random
import tarfile

DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "index": "application/vnd.oci.image.index.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
MANIFEST_ACCEPT = [("Accept", t[k]) for t in (DOCKER, OCI) for k in ("manifest", "index")]
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def digest_of(data, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def random_bytes(size, seed):
    """Bytes that do not compress and are the same in each run."""
    return random.Random(seed).randbytes(size)


class Image:
    """Config, layers and manifest as bytes, with their digests."""

    def __init__(self, config, layers, types=None, architecture=ARCHITECTURE):
        self.types = types or DOCKER
        self.architecture = architecture
        self.config = config
        self.layers = layers
        self.manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": self.types["manifest"],
            "config": self._descriptor("config", config),
            "layers": [self._descriptor("layer", layer) for layer in layers],
        }, indent=3).encode()
        self.digest = digest_of(self.manifest)
        self.media_type = self.types["manifest"]

    def _descriptor(self, kind, data):
        return {"mediaType": self.types[kind], "size": len(data), "digest": digest_of(data)}

    @property
    def config_digest(self):
        return digest_of(self.config)

    @property
    def layer_digests(self):
        return [digest_of(layer) for layer in self.layers]

    def blobs(self):
        """Everything but the manifest, by digest."""
        return {digest_of(data): data for data in [self.config, *self.layers]}

    def size(self):
        return sum(len(data) for data in self.blobs().values()) + len(self.manifest)


class Index:
    """A multi-architecture image."""

    def __init__(self, images, types=None):
        self.types = types or DOCKER
        self.images = images
        self.manifest = json.dumps({
            "schemaVersion": 2,
            "mediaType": self.types["index"],
            "manifests": [{
                "mediaType": i.media_type, "size": len(i.manifest), "digest": i.digest,
                "platform": {"os": "linux", "architecture": i.architecture},
            } for i in images],
        }, indent=3).encode()
        self.digest = digest_of(self.manifest)
        self.media_type = self.types["index"]


def _pick_files(folder, size):
    """Regular files under `folder` in name order, until they make `size` bytes."""
    total = 0
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(here, name)
            if os.path.islink(path) or not os.path.isfile(path) or not os.access(path, os.R_OK):
                continue
            yield path
            total += os.path.getsize(path)
            if total >= size:
                return


def _add(tar, name, data, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), mode, 1700000000
    tar.addfile(info, io.BytesIO(data))


def tar_layer(files):
    """(gzipped tar, digest of the plain tar) of {name: bytes}."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            _add(tar, name, data)
    raw = plain.getvalue()
    return gzip.compress(raw, compresslevel=1, mtime=0), digest_of(raw)


def machine_layer(folder, size, salt=""):
    """A layer of this machine's own files."""
    def files():
        if salt:
            yield "salt", salt.encode()
        for path in _pick_files(folder, size):
            with open(path, "rb") as f:
                yield path.lstrip("/")[:99], f.read(size)
    return tar_layer(files())


def build(layers, types=None, architecture=ARCHITECTURE):
    """An Image of (gzipped tar, plain digest) pairs."""
    config = json.dumps({
        "architecture": architecture, "os": "linux",
        "config": {"Cmd": ["/bin/true"], "Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [plain for _, plain in layers]},
        "history": [{"created_by": "dray tests"} for _ in layers],
    }).encode()
    return Image(config, [data for data, _ in layers], types, architecture)


def small(salt="", types=None, architecture=ARCHITECTURE):
    """Three layers, some MB: programs, documents, and bytes that do not compress."""
    return build([
        machine_layer("/usr/bin", 3 << 20, salt),
        machine_layer("/usr/share/doc", 1 << 20, salt),
        tar_layer([("data/random", random_bytes(3 << 20, "small" + salt)),
                   ("data/salt", salt.encode())]),
    ], types, architecture)


def tiny(salt, types=None, architecture=ARCHITECTURE):
    """One layer of a few KB, for tests of permission rather than of transport."""
    return build([tar_layer([("data/salt", salt.encode()),
                             ("data/random", random_bytes(8192, "tiny" + salt))])],
                 types, architecture)


def artifact(subject, salt):
    """A manifest that refers to `subject`, as a signature does."""
    image = tiny(salt, OCI)
    manifest = json.loads(image.manifest)
    manifest["subject"] = {"mediaType": subject.media_type, "size": len(subject.manifest),
                           "digest": subject.digest}
    image.manifest = json.dumps(manifest).encode()
    image.digest = digest_of(image.manifest)
    return image
