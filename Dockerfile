# One image for the operator and the agents. No TensorFlow: models are never loaded here.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
COPY requirements/operator.txt /build/
# pip is upgraded nowhere: every package is pinned by hash, and only wheels are taken.
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-compile --no-deps --only-binary :all: --require-hashes -r /build/operator.txt \
 && /opt/venv/bin/pip uninstall -y --quiet pip setuptools \
 && find /opt/venv -depth \( -name tests -o -name test -o -name '*.pyi' -o -name '*.so.debug' \) -exec rm -rf {} +
COPY operator /opt/venv/app
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/app /opt/venv/lib

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="tfmodel-operator" \
      org.opencontainers.image.description="Serves TensorFlow SavedModels on Kubernetes with tensorflow/serving, safely"
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/venv/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/opt/venv/bin/python", "-m"]
CMD ["tfmodel_operator"]
