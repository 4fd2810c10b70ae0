# The daemon's image. Build: docker build -t ingestd .
# Run: read-only root, /var/lib/ingestd as a volume, the folder of ingestd.yaml mounted at /etc/ingestd:
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:8025:8025 \
#     -v ingestd:/var/lib/ingestd -v "$PWD/etc:/etc/ingestd:ro" ingestd
# The configuration must say `api: {listen_host: 0.0.0.0}`, or nobody outside the container reaches it.

FROM python:3.11-slim-bookworm AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# What runs: apart from what builds, and before the code, so that a change of code does not install it again.
RUN python -m venv --without-pip /opt/ingestd
COPY requirements.lock ./
# Of Google's APIs one is used: the documents of the others, 110 MB, would be most of the image.
RUN pip --python /opt/ingestd/bin/python install --require-hashes --only-binary :all: -r requirements.lock \
    && find /opt/ingestd/lib -path '*/discovery_cache/documents/*.json' ! -name gmail.v1.json -delete

COPY requirements-build.lock ./
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY ingestd ingestd
COPY connectors connectors
COPY storage storage
COPY config config
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && pip --python /opt/ingestd/bin/python install --no-deps --no-index /dist/*.whl \
    && pip --python /opt/ingestd/bin/python check \
    && /opt/ingestd/bin/python -m compileall -q /opt/ingestd/lib

FROM python:3.11-slim-bookworm
# A fixed number: volumes and Kubernetes' runAsUser name it.
RUN groupadd --system --gid 10001 ingestd \
    && useradd --system --uid 10001 --gid ingestd --home-dir /var/lib/ingestd --shell /usr/sbin/nologin ingestd \
    && install -d -o ingestd -g ingestd -m 0700 /var/lib/ingestd /var/lib/ingestd/keys \
    && install -d -m 0755 /etc/ingestd
COPY --from=builder /opt/ingestd /opt/ingestd
ENV PATH=/opt/ingestd/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/ingestd
VOLUME /var/lib/ingestd
EXPOSE 8025
# SIGTERM drains: shutdown_seconds of the configuration, so give the container a little longer than that.
STOPSIGNAL SIGTERM
# INGESTD_PORT for another api.listen_port.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('INGESTD_PORT', '8025') + '/livez', timeout=3)"]
ENTRYPOINT ["ingestd"]
CMD ["run"]
