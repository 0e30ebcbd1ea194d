# The service and its command line: docker build -t genlock .

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore
# The build tools stay in /build. Only /opt/genlock is copied into the image; it has neither pip nor hatchling.
RUN python -m venv /build && python -m venv --without-pip /opt/genlock

WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    /build/bin/pip install --quiet --require-hashes -r requirements-build.lock && \
    /build/bin/pip --python /opt/genlock/bin/python install --quiet --require-hashes -r requirements.lock

COPY . .
RUN /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/dist . && \
    /build/bin/pip --python /opt/genlock/bin/python install --quiet --no-deps --no-index /build/dist/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="genlock" \
      org.opencontainers.image.description="A message-driven service that guards shared records against lost updates." \
      org.opencontainers.image.licenses="Apache-2.0"
# The base image lacks the byte code of the standard library. On a read-only file system each start, and each health
# check, would compile it again, which took half a second of a core instead of a tenth.
RUN python -m compileall -q -x '/(site-packages|test|idlelib|ensurepip|turtledemo)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/genlock /opt/genlock
ENV PATH=/opt/genlock/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# A number, so that an orchestrator can see that the user is not root.
USER 10001:10001
EXPOSE 8080
# Requests to this container must not go through a proxy.
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s \
    CMD ["python", "-I", "-c", "import os, urllib.request as web; web.build_opener(web.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('GENLOCK_HTTP_PORT', '8080') + '/readyz', timeout=3)"]
ENTRYPOINT ["genlock"]
CMD ["serve"]
