#!/usr/bin/env python3
"""Makes an OCI image out of a built binary, without a daemon: oci.py BINARY VERSION ARCHITECTURE FILE.

One layer: the binary, the shared libraries that it asks for (from this machine, found with ldd), certificates, and a user. The file is an OCI
image layout that `docker load` (also of Docker before 25), `podman load` and `skopeo copy oci-archive:FILE` take.
"""
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time

binary, version, arch, target = sys.argv[1:]
epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
UID = 10001


def entry(archive, path, content=b"", mode=0o644, kind=tarfile.REGTYPE, owner=0):
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime, info.type, info.uid, info.gid = len(content), mode, epoch, kind, owner, owner
    archive.addfile(info, io.BytesIO(content))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def libraries():
    """Where the loader finds each library, and the loader itself."""
    listed = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
    found = set(re.findall(r"(/\S+)", listed))
    # Loaded by name at run time, for host names.
    for path in list(found):
        resolver = os.path.join(os.path.dirname(path), "libresolv.so.2")
        if os.path.basename(path).startswith("libc.so") and os.path.exists(resolver):
            found.add(resolver)
    return sorted(found)


def copyrights(paths):
    """What Debian says of the origin and licence of these files, by package."""
    found = {}
    for path in paths:
        owner = subprocess.run(["dpkg-query", "-S", os.path.realpath(path)], capture_output=True, text=True, check=False).stdout.split(":")[0]
        text = f"/usr/share/doc/{owner}/copyright"
        if owner and os.path.exists(text):
            found[owner] = read(text)
    return found


def layer():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        made = set()

        def put(path, content, mode=0o644):
            parents = path.split("/")[:-1]
            for depth in range(1, len(parents) + 1):
                parent = "/".join(parents[:depth])
                if parent not in made:
                    made.add(parent)
                    entry(archive, parent, mode=0o755, kind=tarfile.DIRTYPE)
            entry(archive, path, content, mode)

        put("etc/passwd", f"root:x:0:0::/:\nmillstream:x:{UID}:{UID}::/var/lib/millstream:\n".encode())
        put("etc/group", f"root:x:0:\nmillstream:x:{UID}:\n".encode())
        put("etc/nsswitch.conf", b"hosts: files dns\n")
        certificates = "/etc/ssl/certs/ca-certificates.crt"
        if os.path.exists(certificates):
            put(certificates[1:], read(certificates))
        for path in libraries():
            put(path[1:], read(path), 0o755)
        put("usr/bin/millstream", read(binary), 0o755)
        for package, text in sorted(copyrights(libraries()).items()):
            put(f"usr/share/doc/{package}/copyright", text)
        for name in ("LICENSE", "NOTICE"):
            put(f"usr/share/doc/millstream/{name}", read(name))
        entry(archive, "tmp", mode=0o1777, kind=tarfile.DIRTYPE)
        put("var/lib/.keep", b"")
        entry(archive, "var/lib/millstream", mode=0o700, kind=tarfile.DIRTYPE, owner=UID)
    return raw.getvalue()


blobs = {}


def blob(content, media_type):
    digest = hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def as_json(value):
    return json.dumps(value, indent=1, sort_keys=True).encode()


plain = layer()
packed = gzip.compress(plain, 1 if os.environ.get("MILLSTREAM_QUICK") else 9, mtime=0)
layer_of = blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
labels = {
    "org.opencontainers.image.title": "millstream",
    "org.opencontainers.image.version": version,
    "org.opencontainers.image.revision": os.environ.get("MILLSTREAM_REVISION", "unknown"),
    "org.opencontainers.image.licenses": "Apache-2.0",
}
config = blob(as_json({
    "created": created,
    "architecture": arch,
    "os": "linux",
    "config": {
        "User": f"{UID}:{UID}",
        "Env": ["PATH=/usr/bin", "MILLSTREAM_DATA_DIR=/var/lib/millstream"],
        "Entrypoint": ["/usr/bin/millstream"],
        "Cmd": ["serve"],
        "ExposedPorts": {"1935/tcp": {}, "8080/tcp": {}},
        "Volumes": {"/var/lib/millstream": {}},
        "WorkingDir": "/var/lib/millstream",
        "StopSignal": "SIGTERM",
        "Labels": labels,
    },
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    "history": [{"created": created, "created_by": "packaging/oci.py"}],
}), "application/vnd.oci.image.config.v1+json")
manifest = blob(as_json({
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": config,
    "layers": [layer_of],
    "annotations": labels,
}), "application/vnd.oci.image.manifest.v1+json")
name = f"millstream:{version}"
index = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [dict(manifest, platform={"architecture": arch, "os": "linux"},
                       annotations={"io.containerd.image.name": name, "org.opencontainers.image.ref.name": version})],
}


def place(descriptor):
    return "blobs/" + descriptor["digest"].replace(":", "/")


with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
    entry(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    entry(archive, "index.json", as_json(index))
    # What Docker before 25 reads instead.
    entry(archive, "manifest.json", as_json([{"Config": place(config), "RepoTags": [name], "Layers": [place(layer_of)]}]))
    entry(archive, "blobs", mode=0o755, kind=tarfile.DIRTYPE)
    entry(archive, "blobs/sha256", mode=0o755, kind=tarfile.DIRTYPE)
    for digest, content in sorted(blobs.items()):
        entry(archive, f"blobs/sha256/{digest}", content)
