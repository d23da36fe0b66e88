# Fathom as a service:
#   docker build -t fathom .
#   docker run -p 127.0.0.1:8000:8000 -v ./runs:/runs:ro -v fathom-state:/state fathom serve /runs/demo --host 0.0.0.0 --state /state/state.db
# compose.yaml adds PostgreSQL, and Qdrant and vLLM where they are wanted.
FROM python:3.11-slim

# The CPU build of PyTorch; with a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home fathom && mkdir /runs /state && chown fathom /runs /state
WORKDIR /opt/fathom
# What changes seldom comes first, so that it is built once.
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --index-url "$TORCH_INDEX" torch
COPY pyproject.toml README.md LICENSE ./
COPY fathom fathom
RUN pip install --constraint constraints.txt '.[llm,serve,postgres,classic,index,qdrant]'

USER fathom
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
ENTRYPOINT ["fathom"]
CMD ["serve", "/runs/demo", "--host", "0.0.0.0", "--state", "/state/state.db"]
