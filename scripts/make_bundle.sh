#!/usr/bin/env bash
# Make a published bundle from scratch: train, export through the gate, and write the test metrics into the model card.
#
#     bash scripts/make_bundle.sh accurate|resnet50|edge DATA WEIGHTS [SEED]
#
# DATA holds Market-1501 and PETA (docs/data.md). WEIGHTS holds the networks to begin with (docs/recipes.md):
# osnet_0277.safetensors for `accurate`, which the others learn from and which is trained first; and for these
# resnet50.safetensors, of ImageNet, or osnet_0287.safetensors. Runs are written to runs/, bundles to bundles/, those of
# other seeds than 1 with the seed in their name. An interrupted training resumes from its last epoch; a finished one is
# skipped. On two CPU cores `accurate` takes an hour, `edge` an hour more, and `resnet50` two hours more; they compute in
# bfloat16, and PRECISION=fp32 before the command is for CPUs without instructions for that.
set -euo pipefail

if [[ $# -lt 3 || $# -gt 4 || ! $1 =~ ^(accurate|resnet50|edge)$ ]]; then
    echo "usage: bash scripts/make_bundle.sh accurate|resnet50|edge DATA WEIGHTS [SEED]" >&2
    exit 2
fi
name=$1 data=$2 weights=$3 seed=${4:-1}
suffix=$([[ $seed = 1 ]] || echo "-seed$seed")

train() { # RUN RECIPE SETTING ...
    local run=$1 recipe=$2 resume=() settings=()
    shift 2
    for setting in "$@" "run.seed=$seed" "run.precision=${PRECISION:-bf16}"; do settings+=(--set "$setting"); done
    [[ -e $run/config.toml ]] && resume=(--resume)
    sal train --recipe "$recipe" --dataset street --data "$data" --out "$run" "${resume[@]}" "${settings[@]}"
}

teacher=runs/accurate$suffix run=runs/$name$suffix bundle=bundles/$name$suffix
train "$teacher" accurate "model.weights=$weights/osnet_0277.safetensors"
case $name in
    edge) train "$run" student "run.teacher=$teacher" "model.weights=$weights/osnet_0287.safetensors" ;;
    resnet50)
        train "$run" student "run.teacher=$teacher" model.backbone=resnet50 model.stride_on=conv1 model.width=64 \
            model.last_stride=1 "model.weights=$weights/resnet50.safetensors" data.erase=0.5 data.brightness=0.25 \
            stages.0.frozen_blocks=8 stages.0.layer_decay=0.85 stages.0.epochs=8
        ;;
esac
sal export --run "$run" --out "$bundle" --dataset street --data "$data" --precision int8
sal eval --bundle "$bundle" --dataset street --data "$data" --precision int8 --no-partial
sal eval --bundle "$bundle" --dataset street --data "$data" --test-time --attach
