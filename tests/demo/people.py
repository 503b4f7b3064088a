"""Who pulls in the show: people with docker, or with skopeo where docker cannot run.

Each has logins of their own. A pull is a whole one, checked, and forgotten, so that the next begins
with nothing.
"""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from dray_e2e import clients  # noqa: E402


class WithDocker:
    """One dockerd for all of them: what one has pulled is removed before the next one asks."""

    name = "docker"

    def __init__(self, stage):
        self.stage = stage
        self.docker = clients.Docker(stage, clients.Containerd(stage))
        self.logins = {}

    def _run(self, user, *argv, stdin=None):
        folder = self.logins.setdefault(user, self.stage.dir("login"))
        return clients.execute([self.docker.program, "--host", self.docker.socket, "--config",
                                folder, *argv], self.docker.env, 120, stdin)

    def login(self, user, host, password):
        return self._run(user, "login", "--username", user, "--password-stdin", host,
                         stdin=password)

    def pull(self, user, reference):
        return self._run(user, "pull", "--quiet", reference)

    def check(self, reference, image):
        self.docker.verify(reference, image)
        self.docker.forget(reference)

    @staticmethod
    def command(reference):
        return f"docker pull {reference}"


class WithSkopeo:
    name = "skopeo"

    def __init__(self, stage):
        self.stage = stage
        self.skopeo = clients.Skopeo(stage)
        self.logins = {}
        self.folder = None

    def _login_file(self, user):
        if user not in self.logins:
            self.logins[user] = os.path.join(self.stage.dir("login"), "auth.json")
        return self.logins[user]

    def login(self, user, host, password):
        return clients.execute([self.skopeo.program, "login", "--tls-verify=false", "--authfile",
                                self._login_file(user), "--username", user, "--password-stdin",
                                host], self.skopeo.env, 60, password)

    def pull(self, user, reference):
        self.folder = self.stage.dir("pulled")
        return clients.execute([self.skopeo.program, "--insecure-policy", "copy", "--quiet",
                                "--src-tls-verify=false", "--authfile", self._login_file(user),
                                f"docker://{reference}", f"dir:{self.folder}"],
                               self.skopeo.env, 120)

    def check(self, _, image):
        self.skopeo.verify(self.folder, image)
        shutil.rmtree(self.folder)

    @staticmethod
    def command(reference):
        return f"skopeo copy docker://{reference} dir:…"


def find(stage):
    """(the people, why not with docker)."""
    try:
        return WithDocker(stage), None
    except clients.Unavailable as why:
        return WithSkopeo(stage), str(why)
