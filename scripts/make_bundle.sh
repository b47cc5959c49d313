#!/usr/bin/env bash
# Make a published bundle from scratch: train, export through the gate, and write the test metrics into the model card.
#
#     bash scripts/make_bundle.sh resnet50|edge DATA RESNET50_WEIGHTS
#
# DATA holds Market-1501 and PETA (docs/data.md). RESNET50_WEIGHTS are ImageNet weights, a .safetensors or .pth file. `edge`
# learns from `resnet50`, which is trained first: with last stride 2, then for fewer epochs with last stride 1. Runs are
# written to runs/, bundles to bundles/. An interrupted training resumes from its last epoch; a finished one is skipped.
# On two CPU cores resnet50 takes an hour and edge two.
set -euo pipefail

if [[ $# -ne 3 || ! $1 =~ ^(resnet50|edge)$ ]]; then
    echo "usage: bash scripts/make_bundle.sh resnet50|edge DATA RESNET50_WEIGHTS" >&2
    exit 2
fi
name=$1 data=$2 weights=$3

train() { # RUN SETTING ...
    local run=$1 resume=() settings=()
    shift
    for setting in "$@"; do settings+=(--set "$setting"); done
    [[ -e $run/config.toml ]] && resume=(--resume)
    sal train --recipe edge --dataset market1501+peta --data "$data" --out "$run" "${resume[@]}" "${settings[@]}"
}

run=runs/market-resnet50
train "$run" model.backbone=resnet50 "model.weights=$weights" model.stride_on=conv1 model.last_stride=1 \
    run.precision=bf16
if [[ $name = edge ]]; then
    taught=(run.teacher=runs/market-resnet50 'stages.0.phases=["distil"]' losses.distil_embedding=4)
    train runs/edge-stride-2 "${taught[@]}" stages.0.epochs=10
    run=runs/edge
    train "$run" "${taught[@]}" stages.0.epochs=3 data.validate_every=3 model.last_stride=1 \
        model.weights=runs/edge-stride-2/model.safetensors
fi
test_split=(--bundle "bundles/$name" --dataset market1501 --data "$data")
sal export --run "$run" --out "bundles/$name" --dataset market1501+peta --data "$data" --precision int8
sal eval "${test_split[@]}" --precision int8 --no-partial
sal eval "${test_split[@]}" --test-time --attach
