# The slim image of everything that is no service: curation, trainings, downloads. From the checkout:
#   docker build -f k8s/images/jobs.Dockerfile -t align2llava-jobs:0.1.0 .
# Models and data are never in it: they are mounted. No image could be built where this was written.
FROM python:3.11-slim-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.9
COPY requirements/jobs.lock /build/
RUN uv venv /app && uv pip install --python /app/bin/python --require-hashes --no-deps -r /build/jobs.lock
COPY pyproject.toml README.md /build/
COPY align2llava /build/align2llava
COPY clients /build/clients
COPY services /build/services
COPY pipeline /build/pipeline
RUN uv pip install --python /app/bin/python --no-deps /build

FROM python:3.11-slim-bookworm
# The user of the services' image, so that both may write the same volumes.
RUN groupadd --gid 1034 bentoml && useradd --uid 1034 --gid 1034 --create-home bentoml
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1
USER 1034:1034
WORKDIR /home/bentoml
CMD ["a2l", "--help"]
