# The agent with its iperf3 and nothing else: no shell, no package manager, and only an unprivileged user.
#
#   make image
#
# Both base images exist for amd64 and arm64, and nothing here depends on the architecture. They have the same Debian
# release, so that the agent runs with the libc it was linked with. CI tests with the Rust version named here.
# A digest is of the index of both architectures. It stands in the FROM line, where Dependabot finds and renews it.
FROM rust:1.95-slim-trixie@sha256:e14e87345b4d5964ddcc3491d27ee046a0f23820f340c3c1e24da6880141f7c0 AS agent
# It records the crates in the binary, where scanners find them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --quiet --locked cargo-auditable@0.7.7
WORKDIR /src
COPY . .
# Dependencies and their build output stay in the builder's cache, so that a change of the source rebuilds only the
# source. The cache is locked, because two architectures would take each other's results out of it. The sources are
# touched, because cargo compares dates: a different checkout may be older than the build output of this one.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    find agent mesh vendor -name '*.rs' -exec touch {} + \
    && cargo auditable build --release --locked -p iperf3-mesh \
    && install -D target/release/iperf3-mesh /out/usr/bin/iperf3-mesh

# The agent as a file: docker build --target binary --output DIRECTORY .
FROM scratch AS binary
COPY --from=agent /out/usr/bin/iperf3-mesh /

# Debian's iperf3: 3.18 in trixie, maintained by its security team. Not 3.12 of bookworm, which a malformed message
# crashes (CVE-2024-53580).
FROM debian:trixie-slim@sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f AS files
RUN apt-get update && apt-get install -y --no-install-recommends iperf3 && rm -rf /var/lib/apt/lists/*
COPY --from=agent /out/usr/bin/iperf3-mesh /usr/bin/iperf3-mesh
# Both programs and the libraries they load. libgcc_s is loaded by name when a thread is cancelled. Their packages are
# recorded where scanners of images without a package manager look, and their licences are copied.
RUN set -eu; mkdir -p /out/etc /out/tmp /out/var/lib/dpkg/status.d; chmod 1777 /out/tmp; \
    { ldd /usr/bin/iperf3-mesh /usr/bin/iperf3 | grep -o '/[^ :]*\.so[^ :]*'; \
      ldconfig -p | grep -o '/[^ ]*/libgcc_s\.so\.1$'; \
      echo /usr/bin/iperf3-mesh; echo /usr/bin/iperf3; } | sort -u > /files; \
    while read -r file; do install -D "$(readlink -f "$file")" "/out$file"; done < /files; \
    xargs readlink -f < /files | xargs dpkg -S 2>/dev/null | cut -d: -f1 | sort -u | while read -r package; do \
        dpkg -s "$package" > "/out/var/lib/dpkg/status.d/$package"; \
        install -D -m 644 "/usr/share/doc/$package/copyright" "/out/usr/share/doc/$package/copyright"; \
    done; \
    cp /etc/os-release /out/etc/; \
    echo 'agent:x:65532:65532::/:/usr/sbin/nologin' > /out/etc/passwd; \
    echo 'agent:x:65532:' > /out/etc/group

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="iperf3-mesh" \
      org.opencontainers.image.description="Bandwidth matrix of a whole cluster, measured by its own nodes" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=files /out/ /
ENV PATH=/usr/bin
USER 65532:65532
EXPOSE 9876/tcp 9877/udp 9878/tcp
ENTRYPOINT ["/usr/bin/iperf3-mesh"]
CMD ["agent"]
