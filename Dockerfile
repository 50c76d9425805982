# The five stages in a container. Without a command it runs the demo:
#   docker build -t rally . && docker run --rm -v "$PWD/demo:/rally/demo" rally
# With CUDA, from the index of PyTorch for it:
#   docker build -t rally --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm --gpus all -v "$PWD/work:/rally/work" rally python dataset_processor.py work --round 0 --device cuda
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /rally
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
COPY requirements.txt ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.10,!=2.13.0" "torchvision>=0.25" \
    && .venv/bin/pip install --no-cache-dir --requirement requirements.txt
COPY . .
RUN touch .venv/ready
ENV PATH="/rally/.venv/bin:$PATH"
CMD ["make", "demo"]
