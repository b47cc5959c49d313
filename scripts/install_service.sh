#!/usr/bin/env bash
# Install what `sal serve` needs from a checkout into a virtual environment of its own. The Dockerfiles in deploy/ run
# this, and so can you:
#     sudo bash scripts/install_service.sh cpu|gpu [FOLDER]
# FOLDER is /opt/sal by default; PYTHON=python3.12 takes another Python. The wheels of `gpu` bring CUDA and cuDNN along;
# only the driver must be there.
set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 || ! $1 =~ ^(cpu|gpu)$ ]]; then
    echo "usage: bash scripts/install_service.sh cpu|gpu [FOLDER]" >&2
    exit 2
fi
extra=$1 folder=${2:-/opt/sal} python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

bash scripts/prepare_system.sh "$python"
"$python" -m venv "$folder"
rm -rf build
"$folder/bin/python" -m pip --disable-pip-version-check install --quiet --no-cache-dir \
    --constraint constraints.txt ".[$extra,serve]"
"$folder/bin/sal" doctor --device cpu
