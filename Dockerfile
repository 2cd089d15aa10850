# One image for every process type: `docker run IMAGE celery -A tasks worker -Q commands,queries,celery ...`.
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY requirements.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN /venv/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /venv/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
 && /venv/bin/pip uninstall -y -q pytest pytest-randomly pytest-timeout hypothesis ruff mypy celery-types \
      types-psutil types-psycopg2 pandas-stubs import-linter uv \
      playwright axe-playwright-python promql-parser pyyaml

FROM python:3.11-slim
# A number, so that an orchestrator can see that it is not root.
RUN useradd --system --uid 10001 --home-dir /var/lib/fntx --create-home fntx
COPY --from=build /venv /venv
# flowerconfig.py is looked for where the process starts.
COPY flowerconfig.py /app/
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FNTX_HOME=/var/lib/fntx \
    MPLCONFIGDIR=/tmp \
    REMAP_SIGTERM=SIGQUIT
USER 10001:10001
# Nothing is written but FNTX_HOME and /tmp: run it with --read-only and volumes for these two.
VOLUME /var/lib/fntx
# Whether this container's worker takes calls; beat and Flower have checks of their own in compose.yaml.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30s --retries=3 \
  CMD celery -A tasks inspect ping --timeout 5 -d "${FNTX_NODE:-commands}@$HOSTNAME" || exit 1
# Soft shutdown takes 10 s and the last saves a few more: give it `--stop-timeout 60`.
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "tasks", "worker", "-n", "commands@%h", "-Q", "commands,queries,celery", "--without-gossip"]
