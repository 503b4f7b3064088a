"""The checks: what the OCI distribution specification (v1.1.1) and its conformance suites ask of a
registry, each by name. The list is that of the suites of v1.1.1 and of the rewritten ones on main.

A check is a function of a Client, a repository and the Content that was pushed there. It returns
nothing, or raises Wrong.
"""

import json
from urllib.parse import urljoin

from content import (BYTES, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, digest_of, make_bytes,
                     manifest_of, push_blob, with_digest)

PULL, PUSH = [], []  # (name, function)


class Wrong(Exception):
    pass


def check(kind, name):
    def add(function):
        kind.append((name, function))
        return function
    return add


def expect(answer, *statuses):
    if answer.status not in statuses:
        raise Wrong(f"{answer.status}, not {' or '.join(map(str, statuses))}")
    return answer


def same(what, found, wanted):
    if found != wanted:
        raise Wrong(f"{what} {found!r}, not {wanted!r}"[:160])


def expect_error(answer, status, *codes):
    """With a body as the specification has it; HEAD has none."""
    expect(answer, status)
    if not set(answer.codes()) & set(codes):
        raise Wrong(f"codes {answer.codes()}, not {'/'.join(codes)}")


def expect_body(answer, data, digest, media_type=None):
    expect(answer, 200)
    if answer.body != data:
        raise Wrong(f"{len(answer.body)} bytes that are not the {len(data)} pushed")
    expect_fields(answer, data, digest, media_type)


def expect_fields(answer, data, digest, media_type=None):
    same("Content-Length", answer.header("content-length"), str(len(data)))
    same("Docker-Content-Digest", answer.header("docker-content-digest"), digest)
    if media_type:
        same("Content-Type", answer.header("content-type"), media_type)


def blob(repository, data, algorithm="sha256"):
    return f"/v2/{repository}/blobs/{digest_of(data, algorithm)}"


def manifest(repository, reference):
    return f"/v2/{repository}/manifests/{reference}"


ACCEPT = [("Accept", OCI_MANIFEST), ("Accept", OCI_INDEX)]

# --- pull: blobs ----------------------------------------------------------------------------------


@check(PULL, "end-1: the API's root")
def _(c, repository, content):
    expect(c.ask("GET", "/v2/"), 200)


@check(PULL, "blob: HEAD")
def _(c, repository, content):
    got = expect(c.ask("HEAD", blob(repository, content.layer)), 200)
    expect_fields(got, content.layer, digest_of(content.layer))
    same("body", got.body, b"")


@check(PULL, "blob: GET")
def _(c, repository, content):
    expect_body(c.ask("GET", blob(repository, content.layer)), content.layer,
                digest_of(content.layer), BYTES)


@check(PULL, "blob: GET of a large one, twice")
def _(c, repository, content):
    for _ in range(2):
        expect_body(c.ask("GET", blob(repository, content.long)), content.long,
                    digest_of(content.long))


@check(PULL, "blob: GET of the empty one")
def _(c, repository, content):
    expect_body(c.ask("GET", blob(repository, b"")), b"", digest_of(b""))


@check(PULL, "blob: HEAD and GET by sha512")
def _(c, repository, content):
    path, digest = blob(repository, content.other, "sha512"), digest_of(content.other, "sha512")
    expect_fields(expect(c.ask("HEAD", path), 200), content.other, digest)
    expect_body(c.ask("GET", path), content.other, digest)


@check(PULL, "blob: HEAD of what is not there")
def _(c, repository, content):
    expect(c.ask("HEAD", blob(repository, b"not there")), 404)


@check(PULL, "blob: GET of what is not there")
def _(c, repository, content):
    expect_error(c.ask("GET", blob(repository, b"not there")), 404, "BLOB_UNKNOWN")


@check(PULL, "blob: GET of another repository's")
def _(c, repository, content):
    expect(c.ask("GET", blob(repository + "-none", content.layer)), 404)


@check(PULL, "blob: a digest that is none")
def _(c, repository, content):
    got = expect(c.ask("GET", f"/v2/{repository}/blobs/sha256:totallywrong"), 400, 404)
    if got.status == 400:
        expect_error(got, 400, "DIGEST_INVALID")


def _range(name, value, first, end):
    @check(PULL, f"blob: Range {name}")
    def _(c, repository, content):
        got = expect(c.ask("GET", blob(repository, content.layer), [("Range", value)]), 206)
        same("Content-Range", got.header("content-range"), f"bytes {first}-{end - 1}/4000")
        same("Content-Length", got.header("content-length"), str(end - first))
        if got.body != content.layer[first:end]:
            raise Wrong(f"{len(got.body)} other bytes")


_range("500-1499", "bytes=500-1499", 500, 1500)
_range("500-", "bytes=500-", 500, 4000)
_range("-500", "bytes=-500", 3500, 4000)
_range("2000-5000, beyond the end", "bytes=2000-5000", 2000, 4000)


def _no_range(name, value):
    @check(PULL, f"blob: Range {name}")
    def _(c, repository, content):
        expect(c.ask("GET", blob(repository, content.layer), [("Range", value)]), 416)


_no_range("500-0, backwards", "bytes=500-0")
_no_range("5000-10000, outside", "bytes=5000-10000")

# --- pull: manifests ------------------------------------------------------------------------------


def _manifest(name, reference, body, media_type):
    @check(PULL, f"manifest: HEAD and GET by {name}")
    def _(c, repository, content):
        data = body(content)
        place = manifest(repository, reference or digest_of(data))
        head = expect(c.ask("HEAD", place, ACCEPT), 200)
        expect_fields(head, data, digest_of(data), media_type)
        expect_body(c.ask("GET", place, ACCEPT), data, digest_of(data), media_type)


_manifest("tag", "one", lambda c: c.manifest, OCI_MANIFEST)
_manifest("digest", None, lambda c: c.manifest, OCI_MANIFEST)
_manifest("tag, an index", "zero", lambda c: c.index, OCI_INDEX)
_manifest("digest, an index", None, lambda c: c.index, OCI_INDEX)


@check(PULL, "manifest: the second of two Accept lines counts")
def _(c, repository, content):
    fields = [("Accept", DOCKER_MANIFEST), ("Accept", OCI_MANIFEST)]
    expect_body(c.ask("GET", manifest(repository, "one"), fields), content.manifest,
                digest_of(content.manifest), OCI_MANIFEST)


def _no_manifest(name, reference):
    @check(PULL, f"manifest: HEAD and GET by {name} that is not there")
    def _(c, repository, content):
        place = manifest(repository, reference)
        expect(c.ask("HEAD", place, ACCEPT), 404)
        expect_error(c.ask("GET", place, ACCEPT), 404, "MANIFEST_UNKNOWN")


_no_manifest("a tag", "not-there")
_no_manifest("a digest", digest_of(b"not there"))


@check(PULL, "manifest: a digest that is none")
def _(c, repository, content):
    expect(c.ask("GET", manifest(repository, "sha256:totallywrong"), ACCEPT), 400, 404)

# --- pull: lists ----------------------------------------------------------------------------------


def tags_of(answer):
    expect(answer, 200)
    return json.loads(answer.body)["tags"]


@check(PULL, "tags: all of them, in order")
def _(c, repository, content):
    got = c.ask("GET", f"/v2/{repository}/tags/list")
    same("tags", tags_of(got), ["one", "two", "zero"])
    same("name", json.loads(got.body)["name"], repository)


@check(PULL, "tags: page by page, as Link says")
def _(c, repository, content):
    where, found = f"/v2/{repository}/tags/list?n=2", []
    for _ in range(5):
        got = c.ask("GET", where)
        found += tags_of(got)
        link = got.header("link")
        if not link:
            break
        if 'rel="next"' not in link:
            raise Wrong(f"Link {link!r}")
        where = urljoin(got.url, link[link.index("<") + 1:link.index(">")])
    same("tags", found, ["one", "two", "zero"])


@check(PULL, "tags: those after `last`")
def _(c, repository, content):
    same("tags", tags_of(c.ask("GET", f"/v2/{repository}/tags/list?n=1&last=one")), ["two"])


@check(PULL, "tags: of a repository that is not there")
def _(c, repository, content):
    expect_error(c.ask("GET", f"/v2/{repository}-none/tags/list"), 404, "NAME_UNKNOWN")


@check(PULL, "referrers: an index, or 404 where there is no such API")
def _(c, repository, content):
    got = expect(c.ask("GET", f"/v2/{repository}/referrers/{digest_of(content.manifest)}"), 200, 404)
    if got.status == 200:
        same("Content-Type", got.header("content-type"), OCI_INDEX)

# --- push: blobs ----------------------------------------------------------------------------------


def upload(c, repository, query=""):
    got = expect(c.ask("POST", f"/v2/{repository}/blobs/uploads/{query}"), 202)
    if not got.header("location"):
        raise Wrong("no Location")
    return got


def finish(c, at, data):
    """PUT without further bytes, and the blob is there."""
    digest = digest_of(data)
    done = expect(c.ask("PUT", with_digest(at, digest)), 201)
    expect_stored(c, done, data)


def expect_stored(c, done, data):
    """Where the answer says it is."""
    if not done.header("location"):
        raise Wrong("no Location")
    expect_body(c.ask("GET", urljoin(done.url, done.header("location"))), data, digest_of(data))


@check(PUSH, "blob: POST, then PUT with all of it")
def _(c, repository, content):
    data = make_bytes(3000, repository + " put")
    at = upload(c, repository)
    done = expect(c.ask("PUT", with_digest(at, digest_of(data)), [("Content-Type", BYTES)], data), 201)
    expect_stored(c, done, data)
    expect(c.ask("HEAD", blob(repository, data)), 200)


@check(PUSH, "blob: one POST with all of it, or the offer to PUT")
def _(c, repository, content):
    data = make_bytes(3000, repository + " post")
    got = expect(c.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(data)}",
                       [("Content-Type", BYTES)], data), 201, 202)
    if got.status == 202:
        got = expect(c.ask("PUT", with_digest(got, digest_of(data)), [("Content-Type", BYTES)], data),
                     201)
    expect_stored(c, got, data)


@check(PUSH, "blob: the empty one")
def _(c, repository, content):
    at = upload(c, repository)
    expect(c.ask("PUT", with_digest(at, digest_of(b"")), [("Content-Type", BYTES)], b""), 201)
    expect(c.ask("HEAD", blob(repository, b"")), 200)


def patch(c, at, data, first):
    fields = [("Content-Type", BYTES), ("Content-Range", f"{first}-{first + len(data) - 1}")]
    return c.ask("PATCH", at.header("location"), fields, data)


@check(PUSH, "blob: in two pieces, with its progress told")
def _(c, repository, content):
    data = make_bytes(4000, repository + " pieces")
    at = expect(patch(c, upload(c, repository), data[:2000], 0), 202)
    same("Range", at.header("range"), "0-1999")
    asked = expect(c.ask("GET", at.header("location")), 204)
    same("Range", asked.header("range"), "0-1999")
    at = expect(patch(c, at, data[2000:], 2000), 202)
    same("Range", at.header("range"), "0-3999")
    finish(c, at, data)


@check(PUSH, "blob: a piece out of order")
def _(c, repository, content):
    data = make_bytes(4000, repository + " order")
    at = expect(patch(c, upload(c, repository), data[:1000], 0), 202)
    expect(patch(c, at, data[2000:], 2000), 416)


@check(PUSH, "blob: streamed, as docker does")
def _(c, repository, content):
    data = make_bytes(300_000, repository + " stream")
    at = upload(c, repository)
    pieces = (data[i:i + 50_000] for i in range(0, len(data), 50_000))
    at = expect(c.ask("PATCH", at.header("location"), [("Content-Type", BYTES)], pieces), 202)
    same("Range", at.header("range"), "0-299999")
    finish(c, at, data)


@check(PUSH, "blob: bytes that are not the digest's")
def _(c, repository, content):
    at = upload(c, repository)
    expect_error(c.ask("PUT", with_digest(at, digest_of(b"others")), [("Content-Type", BYTES)],
                       b"these"), 400, "DIGEST_INVALID")
    expect(c.ask("HEAD", blob(repository, b"others")), 404)


@check(PUSH, "blob: an upload called off")
def _(c, repository, content):
    at = upload(c, repository)
    expect(c.ask("DELETE", at.header("location")), 204)
    expect_error(c.ask("GET", at.header("location")), 404, "BLOB_UPLOAD_UNKNOWN")


@check(PUSH, "blob: mounted from another repository")
def _(c, repository, content):
    source, data = repository + "-source", make_bytes(2000, repository + " mount")
    push_blob(c, source, data)
    got = expect(c.ask("POST", f"/v2/{repository}/blobs/uploads/?mount={digest_of(data)}"
                       f"&from={source.replace('/', '%2F')}"), 201, 202)
    if got.status == 201:
        expect_stored(c, got, data)


@check(PUSH, "blob: what cannot be mounted is asked for")
def _(c, repository, content):
    digest = digest_of(make_bytes(50, repository + " no mount"))
    upload(c, repository, f"?mount={digest}&from={repository}-source")

# --- push: manifests ------------------------------------------------------------------------------


def put_manifest(c, repository, reference, data, media_type=OCI_MANIFEST):
    return c.ask("PUT", manifest(repository, reference), [("Content-Type", media_type)], data)


def an_image(c, repository, salt, **more):
    """Its blobs are pushed; its manifest is not."""
    config, layer = b'{"architecture":"amd64","os":"linux"}', make_bytes(900, repository + salt)
    push_blob(c, repository, config)
    push_blob(c, repository, layer)
    return manifest_of(config, [layer], **more)


def expect_put(c, repository, reference, data):
    done = expect(put_manifest(c, repository, reference, data), 201)
    same("Docker-Content-Digest", done.header("docker-content-digest"), digest_of(data))
    place = done.header("location")
    if not place:
        raise Wrong("no Location")
    expect_body(c.ask("GET", urljoin(done.url, place), ACCEPT), data, digest_of(data), OCI_MANIFEST)


@check(PUSH, "manifest: by tag")
def _(c, repository, content):
    expect_put(c, repository, "pushed", an_image(c, repository, "by tag"))


@check(PUSH, "manifest: by digest")
def _(c, repository, content):
    data = an_image(c, repository, "by digest")
    expect_put(c, repository, digest_of(data), data)


@check(PUSH, "manifest: a tag moves")
def _(c, repository, content):
    for salt in ("before", "after"):
        data = an_image(c, repository, salt)
        expect(put_manifest(c, repository, "moving", data), 201)
        expect_body(c.ask("GET", manifest(repository, "moving"), ACCEPT), data, digest_of(data))


@check(PUSH, "manifest: of blobs that are not there")
def _(c, repository, content):
    data = manifest_of(make_bytes(40, repository + "c"), [make_bytes(41, repository + "l")])
    got = expect(put_manifest(c, repository, "lacking", data), 201, 400, 404)
    if got.status != 201 and not set(got.codes()) & {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN",
                                                     "MANIFEST_INVALID"}:
        raise Wrong(f"codes {got.codes()}")


@check(PUSH, "manifest: what is none")
def _(c, repository, content):
    expect_error(put_manifest(c, repository, "none", b"{not JSON"), 400, "MANIFEST_INVALID")


@check(PUSH, "manifest: under a digest that is another's")
def _(c, repository, content):
    data = an_image(c, repository, "other digest")
    expect_error(put_manifest(c, repository, digest_of(b"others"), data), 400, "DIGEST_INVALID",
                 "MANIFEST_INVALID")


@check(PUSH, "manifest: with a subject")
def _(c, repository, content):
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(content.manifest),
               "size": len(content.manifest)}
    data = an_image(c, repository, "subject", subject=subject)
    got = expect(put_manifest(c, repository, digest_of(data), data), 201)
    if got.header("oci-subject"):
        same("OCI-Subject", got.header("oci-subject"), digest_of(content.manifest))

# --- push: what goes again ------------------------------------------------------------------------


@check(PUSH, "delete: a tag, where that is allowed")
def _(c, repository, content):
    expect(put_manifest(c, repository, "going", an_image(c, repository, "going")), 201)
    got = expect(c.ask("DELETE", manifest(repository, "going")), 202, 400, 404, 405)
    if got.status == 202:
        expect(c.ask("GET", manifest(repository, "going"), ACCEPT), 404)


@check(PUSH, "delete: a manifest by digest, where that is allowed")
def _(c, repository, content):
    data = an_image(c, repository, "gone")
    expect(put_manifest(c, repository, "gone", data), 201)
    got = expect(c.ask("DELETE", manifest(repository, digest_of(data))), 202, 400, 404, 405)
    if got.status == 202:
        expect_error(c.ask("GET", manifest(repository, digest_of(data)), ACCEPT), 404,
                     "MANIFEST_UNKNOWN")


@check(PUSH, "delete: a blob, where that is allowed")
def _(c, repository, content):
    data = make_bytes(500, repository + " delete")
    push_blob(c, repository, data)
    got = expect(c.ask("DELETE", blob(repository, data)), 202, 400, 404, 405)
    if got.status == 202:
        expect(c.ask("HEAD", blob(repository, data)), 404)
