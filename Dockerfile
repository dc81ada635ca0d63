# One image for every service: `candlewick feeder`, `candlewick gap-handler`, and any other command.
# Nothing here needs BuildKit, and nothing at run time needs a writable root: what is kept lies in /data.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Versions of the compiler are the base image's own: what it makes is the same, and a pin would break with every update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/candlewick
ENV PATH=/opt/candlewick/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# What it depends on changes rarely: a layer of its own, kept until pyproject.toml or constraints.txt change.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt
COPY hatch_build.py README.md LICENSE ./
COPY candlewick candlewick
# A wheel without its compiled parts works too, several times slower: an image must not be made of such a one.
RUN pip wheel --no-deps --wheel-dir dist . \
    && pip install --no-deps dist/*.whl \
    && test "$(find /opt/candlewick/lib -path '*/site-packages/candlewick/*' -name 'lib*.so' | wc -l)" -eq "$(find candlewick -name '*.c' | wc -l)" \
    && pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Candlewick" \
      org.opencontainers.image.description="Market data that can be proved complete" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 1000 candlewick \
    && useradd --uid 1000 --gid 1000 --home-dir /data --no-create-home --shell /usr/sbin/nologin candlewick \
    && install --directory --owner=1000 --group=1000 --mode=750 /data
COPY deploy/healthcheck.py /usr/local/lib/candlewick/healthcheck.py
COPY --from=builder /opt/candlewick /opt/candlewick
# Services in a container are reached from outside of it; who may reach them is decided where their ports are published.
ENV PATH=/opt/candlewick/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    XDG_DATA_HOME=/data \
    HTTP_HOST=0.0.0.0
USER 1000:1000
WORKDIR /data
VOLUME /data
EXPOSE 8080 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/usr/local/lib/candlewick/healthcheck.py"]
ENTRYPOINT ["candlewick"]
CMD ["feeder"]
