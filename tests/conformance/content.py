"""What is pushed for the pull checks: blobs, an image of them, an index, tags."""

import hashlib
import json

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
BYTES = "application/octet-stream"


def digest_of(data, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def make_bytes(size, salt):
    """The same for equal arguments, unlike any other."""
    return hashlib.shake_256(salt.encode()).digest(size)


def descriptor(data, media_type):
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def manifest_of(config, layers, **more):
    return json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(layer, OCI_LAYER) for layer in layers], **more}).encode()


class Content:
    """`salt` makes it new: what a former run pushed may be held somewhere."""

    def __init__(self, salt):
        self.layer = make_bytes(4000, salt)
        self.long = make_bytes(700_000, salt + " long")
        self.other = make_bytes(300, salt + " sha512")
        self.config = json.dumps({"architecture": "amd64", "os": "linux", "created_by": salt,
                                  "rootfs": {"type": "layers", "diff_ids": []}}).encode()
        self.manifest = manifest_of(self.config, [self.layer, self.long])
        self.index = json.dumps({
            "schemaVersion": 2, "mediaType": OCI_INDEX,
            "manifests": [{**descriptor(self.manifest, OCI_MANIFEST),
                           "platform": {"architecture": "amd64", "os": "linux"}}]}).encode()
        self.blobs = [self.layer, self.long, b"", self.config]

    def push(self, client, repository):
        """Raises what is not taken; of sha512, which a registry need not know, says whether it was."""
        for data in self.blobs:
            push_blob(client, repository, data)
        for reference, body, media_type in (
                ("one", self.manifest, OCI_MANIFEST), ("two", self.manifest, OCI_MANIFEST),
                ("zero", self.index, OCI_INDEX)):
            must(client.ask("PUT", f"/v2/{repository}/manifests/{reference}",
                            [("Content-Type", media_type)], body), 201)
        try:
            push_blob(client, repository, self.other, "sha512")
        except OSError:
            pass  # the check will tell


def must(answer, status):
    if answer.status != status:
        raise OSError(f"{answer.url}: {answer.status} {answer.body[:300]!r}")
    return answer


def push_blob(client, repository, data, algorithm="sha256"):
    begun = must(client.ask("POST", f"/v2/{repository}/blobs/uploads/"), 202)
    place = with_digest(begun, digest_of(data, algorithm))
    must(client.ask("PUT", place, [("Content-Type", BYTES)], data), 201)


def with_digest(answer, digest):
    """The place that an upload goes to."""
    place = answer.header("location") or ""
    return f"{place}{'&' if '?' in place else '?'}digest={digest}"
