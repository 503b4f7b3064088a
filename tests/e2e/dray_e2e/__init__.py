"""What the end-to-end tests stand on: real registries, real clients, real faults, one machine.

    stage      a test's temporary folder, its processes, and their certain end
    place      where a process runs: loopback, or a host of the lab
    certs      a private CA and the certificates under it
    images     real multi-layer images, made from this machine's own files
    registry   Debian's docker-registry: open, Basic, Bearer; plain or TLS
    tokens     a token server that the registry trusts
    proxy      a recording reverse proxy that injects faults; also a fake upstream
    wire       an HTTP client that sends and sees exactly what is on the wire
    readers    clients that read a blob in the background
    node       the daemon under test
    region     nodes that know each other, on addresses of their own
    racks      nodes that share layers
    clients    docker, ctr, skopeo
    suite      how a test file becomes a ctest entry (skips by name)

Standard library only. Everything listens on loopback, on ports the kernel picked.
"""
