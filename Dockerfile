# Trains in a container: docker build -t trainer . (for a GPU: --build-arg TORCH=auto, or cu130)
FROM python:3.13-slim
ARG TORCH=cpu
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv
WORKDIR /src
COPY requirements.txt constraints.txt ./
RUN uv pip install --system --no-cache --torch-backend=${TORCH} -r requirements.txt -c constraints.txt
COPY . .
RUN uv pip install --system --no-cache --no-deps -e .
CMD ["project-train", "--help"]
