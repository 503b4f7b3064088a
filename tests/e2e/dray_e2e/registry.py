"""Debian's docker-registry, as the centre: open, Basic (htpasswd) or Bearer (tokens.py); plain or TLS.

Images are pushed with its own API, by an account that may do everything.
"""

import json
import os
import re
import shutil
import subprocess
from urllib.parse import urlsplit

from . import wire
from .place import LOOPBACK
from .stage import port_open
from .tokens import ISSUER, SERVICE

PROGRAM = shutil.which("docker-registry")

# "1.2.3.4 - - [..] "GET /v2/.. HTTP/1.1" 200 1234 "" "agent""
_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d+) (?P<bytes>\d+)')


def _htpasswd(users):
    """One line for each user, bcrypt at the least cost: tests ask often."""
    lines = []
    for user, password in users.items():
        done = subprocess.run(["htpasswd", "-nbB", "-C", "4", user, password], check=True,
                              capture_output=True, text=True)
        lines.append(done.stdout.strip())
    return "\n".join(lines) + "\n"


class Registry:
    """auth: None, {"user": "password", ...} for Basic, or a TokenServer."""

    def __init__(self, stage, auth=None, authority=None, storage=None, place=LOOPBACK):
        self.stage = stage
        self.auth = auth
        self.place = place
        self.port = place.free_port()
        self.storage = storage or stage.dir("registry")
        self.tls = authority.server(f"registry-{self.port}") if authority else None
        self.ca = authority.ca if authority else None
        self.url = f"{'https' if self.tls else 'http'}://{place.at(self.port)}"
        self._config = stage.file(f"registry-{self.port}.yml", self._yaml())
        self.process = None
        self.start()

    def _yaml(self):
        lines = ["version: 0.1", "log: {level: info, accesslog: {disabled: false}}", "storage:",
                 f"  filesystem: {{rootdirectory: {self.storage}}}", "  delete: {enabled: true}",
                 "http:", f'  addr: "{self.place.at(self.port)}"', "  secret: dray-tests"]
        if self.tls:
            lines += ["  tls:", f"    certificate: {self.tls[0]}", f"    key: {self.tls[1]}"]
        if isinstance(self.auth, dict):
            path = self.stage.file(f"htpasswd-{self.port}", _htpasswd(self.auth))
            lines += ["auth:", f"  htpasswd: {{realm: dray-tests, path: {path}}}"]
        elif self.auth:
            lines += ["auth:", "  token:", f"    realm: {self.auth.realm}",
                      f"    service: {SERVICE}", f"    issuer: {ISSUER}",
                      f"    rootcertbundle: {self.auth.cert}"]
        return "\n".join(lines) + "\n"

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "OTEL_"))}
        argv = [*self.place.via, PROGRAM, "serve", self._config]
        self.process = self.stage.spawn(f"registry-{self.port}", argv, env=env)
        with self.place.inside():
            self.process.until(lambda: port_open(self.port, self.place.address))

    def stop(self):
        self.process.stop()

    def access(self):
        """The access log: dicts of method, path, status, bytes."""
        rows = []
        for line in self.process.log().splitlines():
            hit = _ACCESS.search(line)
            if hit and " - - [" in line:
                rows.append({"method": hit["method"], "path": hit["path"],
                             "status": int(hit["status"]), "bytes": int(hit["bytes"])})
        return rows

    # --- pushing -------------------------------------------------------------------------------

    def _push_headers(self, repository):
        if isinstance(self.auth, dict):
            user, password = next(iter(self.auth.items()))
            return [("Authorization", wire.basic(user, password))]
        if self.auth:
            return [("Authorization", self.auth.bearer(repository, ("pull", "push")))]
        return []

    def _call(self, method, path, headers, body=b""):
        with self.place.inside():
            return wire.fetch(self.url + path, method, headers, body, ca=self.ca)

    def push_blob(self, repository, data, digest, headers=None):
        headers = self._push_headers(repository) if headers is None else headers
        begun = self._call("POST", f"/v2/{repository}/blobs/uploads/", headers)
        if begun.status != 202:
            raise RuntimeError(f"upload refused: {begun.status} {begun.body!r}")
        place = urlsplit(begun.header("location"))
        target = f"{place.path}?{place.query}&digest={digest}".replace("?&", "?")
        done = self._call("PUT", target,
                          headers + [("Content-Type", "application/octet-stream")], data)
        if done.status != 201:
            raise RuntimeError(f"blob refused: {done.status} {done.body!r}")

    def push_manifest(self, repository, reference, image, headers=None):
        headers = self._push_headers(repository) if headers is None else headers
        done = self._call("PUT", f"/v2/{repository}/manifests/{reference}",
                          headers + [("Content-Type", image.media_type)], image.manifest)
        if done.status != 201:
            raise RuntimeError(f"manifest refused: {done.status} {done.body!r}")

    def push(self, repository, tag, image):
        """An Image, or an Index with its images; returns it."""
        headers = self._push_headers(repository)
        for child in getattr(image, "images", []):
            self._push_image(repository, child.digest, child, headers)
        if hasattr(image, "layers"):
            self._push_image(repository, tag, image, headers)
        else:
            self.push_manifest(repository, tag, image, headers)
        return image

    def _push_image(self, repository, reference, image, headers):
        for digest, data in image.blobs().items():
            self.push_blob(repository, data, digest, headers)
        self.push_manifest(repository, reference, image, headers)

    def tags(self, repository):
        return json.loads(self._call("GET", f"/v2/{repository}/tags/list",
                                     self._push_headers(repository)).body)["tags"]
