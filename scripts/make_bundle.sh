#!/usr/bin/env bash
# Make a published bundle from scratch: train, export through the gate, and write the test metrics into the model card.
#
#     bash scripts/make_bundle.sh accurate|resnet50|edge DATA WEIGHTS [SEED]
#
# DATA holds Market-1501 and PETA (docs/data.md). WEIGHTS holds the networks to begin with (docs/recipes.md):
# osnet_0277.safetensors for the teachers, which are trained first, and for `accurate`; resnet50.safetensors, of
# ImageNet; or osnet_0287.safetensors for `edge`. SEED is 1, 2 or 3. Runs are written to runs/, bundles to bundles/,
# those of other seeds than 1 with the seed in their name. An interrupted training resumes from its last epoch; a
# finished one is skipped. On two CPU cores a teacher takes an hour, `edge` an hour more. We estimate three hours more
# for `accurate` and four for `resnet50`, many of them to embed the images with two teachers. All compute in bfloat16;
# PRECISION=fp32 before the command is for CPUs without instructions for that.
set -euo pipefail

if [[ $# -lt 3 || $# -gt 4 || ! $1 =~ ^(accurate|resnet50|edge)$ || ! ${4:-1} =~ ^[123]$ ]]; then
    echo "usage: bash scripts/make_bundle.sh accurate|resnet50|edge DATA WEIGHTS [1|2|3]" >&2
    exit 2
fi
name=$1 data=$2 weights=$3 seed=${4:-1}

named() { # NAME SEED
    [[ $2 = 1 ]] && echo "$1" || echo "$1-seed$2"
}

train() { # RUN RECIPE SEED SETTING ...
    local run=$1 recipe=$2 run_seed=$3 resume=() settings=()
    shift 3
    for setting in "$@" "run.seed=$run_seed" "run.precision=${PRECISION:-bf16}"; do settings+=(--set "$setting"); done
    [[ -e $run/config.toml ]] && resume=(--resume)
    sal train --recipe "$recipe" --dataset street --data "$data" --out "$run" "${resume[@]}" "${settings[@]}"
}

train_teacher() { # SEED
    train "$(named runs/teacher "$1")" accurate "$1" "model.weights=$weights/osnet_0277.safetensors"
}

run=$(named runs/"$name" "$seed") bundle=$(named bundles/"$name" "$seed")
next=$((seed % 3 + 1)) # whose teacher helps: with seed 3, that of seed 1
taught=("run.teacher=$(named runs/teacher "$seed")")
train_teacher "$seed"
if [[ $name != edge ]]; then
    taught+=("run.other_teachers=[\"$(named runs/teacher "$next")\"]")
    train_teacher "$next"
fi
case $name in
    accurate)
        train "$run" student "$seed" "${taught[@]}" model.backbone=osnet_0277 model.height=256 model.width=128 \
            "model.weights=$weights/osnet_0277.safetensors" data.validate_every=1 stages.0.epochs=8 \
            stages.0.frozen_blocks=9 stages.0.cache_frozen=true 'stages.0.learning_rates={trunk=2e-4}'
        ;;
    resnet50)
        train "$run" student "$seed" "${taught[@]}" model.backbone=resnet50 model.stride_on=conv1 model.height=160 \
            model.width=80 model.last_stride=1 "model.weights=$weights/resnet50.safetensors" data.erase=0.5 \
            data.brightness=0.25 stages.0.frozen_blocks=8 stages.0.layer_decay=0.85 stages.0.epochs=6
        ;;
    edge) train "$run" student "$seed" "${taught[@]}" "model.weights=$weights/osnet_0287.safetensors" ;;
esac
if [[ $name = accurate ]]; then # the gate refuses its int8
    sal export --run "$run" --out "$bundle" --dataset street --data "$data"
else
    sal export --run "$run" --out "$bundle" --dataset street --data "$data" --precision int8
    sal eval --bundle "$bundle" --dataset street --data "$data" --precision int8 --no-partial
fi
sal eval --bundle "$bundle" --dataset street --data "$data" --test-time --attach
