# Targets: `api` (also the controller, migrations and the command line), `worker` (with the built-in
# kinds' libraries) and `loadtest` (with Locust); what they have in common, they share as layers.
#
#     docker build --target worker --tag heavylift/worker:dev .
#
# A company's own kinds go on top, for the API and for the workers:
#
#     FROM heavylift/worker:0.1.0
#     USER 0
#     RUN pip --no-cache-dir --python /opt/heavylift/bin/python install wordy
#     USER 10001
ARG PYTHON=docker.io/library/python:3.13-slim-trixie

# --- what is installed: the lock's, and nothing else ----------------------------------------------

FROM ${PYTHON} AS packages
WORKDIR /src
ENV PATH=/opt/uv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/heavylift \
    UV_PYTHON_DOWNLOADS=never
COPY requirements/dev.lock ./
RUN sed -n '/^uv==/,/[^\\]$/p' dev.lock > /tmp/uv.lock \
    && python -m venv /opt/uv \
    && pip --python /opt/uv/bin/python install --quiet --require-hashes --requirement /tmp/uv.lock
COPY pyproject.toml uv.lock ./
RUN uv sync --quiet --frozen --no-default-groups --no-install-project --extra kubernetes

# What comes on top of these is a layer of its own: files changed since, below /added.
ENV SYNC="uv sync --quiet --frozen --no-default-groups --extra kubernetes" \
    CUT="find /opt/heavylift -cnewer /since ! -type d -print0 \
      | tar --create --null --files-from - \
      | tar --extract --directory /added"

FROM packages AS worker-packages
RUN mkdir /added && touch /since && $SYNC --no-install-project --extra worker && sh -c "$CUT"

FROM packages AS loadtest-packages
RUN mkdir /added && touch /since && $SYNC --no-install-project --extra load && sh -c "$CUT"

FROM packages AS project
COPY README.md LICENSE ./
COPY app app
COPY worker worker
RUN mkdir /added && touch /since && $SYNC --no-editable && sh -c "$CUT"

# Bills of materials (CycloneDX), with the texts of the licences.
FROM packages AS bills
COPY LICENSE ./
COPY --from=worker-packages /opt/heavylift /opt/worker
COPY --from=loadtest-packages /opt/heavylift /opt/loadtest
RUN cp --archive /opt/heavylift /opt/api \
    && UV_PROJECT_ENVIRONMENT=/opt/bills uv sync --quiet --frozen --only-group bills \
    && for image in api worker loadtest; do \
         mkdir --parents /bills/$image/usr/share/heavylift \
         && cp LICENSE /bills/$image/usr/share/heavylift \
         && /opt/bills/bin/cyclonedx-py environment --pyproject pyproject.toml \
              --gather-license-texts --output-reproducible \
              --output-file /bills/$image/usr/share/heavylift/bom.cdx.json /opt/$image; \
       done

# --- images ---------------------------------------------------------------------------------------

FROM ${PYTHON} AS runtime
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Heavylift" \
      org.opencontainers.image.description="Typed jobs over FastAPI, run by Celery workers, on a PostgreSQL ledger that loses none" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The root file system may be read-only: all that is written goes to /tmp.
ENV PATH=/opt/heavylift/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HEAVYLIFT_SIGNALS_REVISION=${REVISION} \
    HEAVYLIFT_API_HOST=0.0.0.0 \
    HEAVYLIFT_SIGNALS_HOST=0.0.0.0
COPY --from=packages /opt/heavylift /opt/heavylift
WORKDIR /tmp
USER 10001:10001
STOPSIGNAL SIGTERM

FROM runtime AS worker
COPY --from=worker-packages /added /
COPY --from=bills /bills/worker /
COPY --from=project /added /
ENTRYPOINT ["heavylift"]
CMD ["worker"]

FROM runtime AS loadtest
COPY --from=loadtest-packages /added /
COPY --from=bills /bills/loadtest /
COPY --from=project /added /
COPY loadtests /opt/loadtests/loadtests
ENV PYTHONPATH=/opt/loadtests
ENTRYPOINT ["python", "-m", "loadtests"]

FROM runtime AS api
COPY --from=bills /bills/api /
COPY --from=project /added /
ENTRYPOINT ["heavylift"]
CMD ["api"]
