#!/bin/bash
# Records everything that bench/cuda/run.sh takes to a machine with a GPU, into FOLDER (about 50 MB):
#
#   bash bench/cuda/prepare.sh FOLDER
#
# Needs dist (npm run build) and the emulated library (cmake -S . -B build/tests -DBERTKIT_TESTS=ON; cmake --build build/tests --target
# bertkit_cuda_emulated), which says what plans for the device are like, and computes what it must give. A library that was built
# already (npm run build:cuda) goes along.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1
mkdir -p "$folder"
export BERTKIT_CUDA_LIBRARY=${BERTKIT_CUDA_LIBRARY:-$PWD/build/tests/libbertkit_cuda_emulated.so}

BERTKIT_RECORD_PLANS=$folder/suite BERTKIT_RECORD_MEGABYTES=${MEGABYTES:-36} npx vitest run test/cuda.conformance.test.ts

record() {
  node bench/main.mjs record-plan --backend cuda --record-plan "$folder/$1" "${@:2}"
}
record nano --model nano --batch 4 --seq 32 --lengths ragged --dtype float32,bfloat16 --steps 2
record steps/1 --plan-only --filter train --model large --batch 32 --seq 512 --dtype bfloat16 --steps 2
record steps/2 --plan-only --filter train --model base --batch 16 --seq 128 --dtype bfloat16,float32 --steps 2
record steps/3 --plan-only --filter train --model base --batch 16 --seq 128 --lengths ragged --dtype bfloat16 --steps 4
record steps/4 --plan-only --filter infer --model base --batch 8 --seq 128 --dtype bfloat16
record steps/5 --plan-only --filter infer --model base --batch 256 --seq 128 --dtype bfloat16

if [ -f out/cuda/libbertkit_cuda.so ]; then cp out/cuda/libbertkit_cuda.so "$folder"; fi
du -sh "$folder"
