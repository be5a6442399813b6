#!/bin/bash
# Verifies and measures the CUDA library on a machine with a GPU that has CUDA's compiler or a built library, Python and NumPy, but no
# Node; with PyTorch and Transformers, beside them.
#
#   bash bench/cuda/run.sh FOLDER          FOLDER: of bench/cuda/prepare.sh
#
# Logs and results go to $OUT (out/cuda/device). No part takes longer than its limit, none stops those after it, and what does not fit
# into LIMIT seconds (540) is left out; the most wanted come first. PARTS names those to do: the sanitizer takes up to 400 alone. BUILD=1 builds the library, though one came
# along. QUICK=1 takes tiny shapes, to try this out with the emulated library.
set -u
cd "$(dirname "$0")/../.."
folder=$1
out=${OUT:-out/cuda/device}
parts=${PARTS:-verify steps kernels verify-general steps-general kernels-general bad_days peers sanitizer}
limit=${LIMIT:-540}
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1
mkdir -p "$out"
results=$out/results.jsonl
failed=()

# part NAME LIMIT COMMAND...: its output goes to $log, NAME.log unless it is set, and the end of it here
part() {
  local name=$1 file=$out/${log:-$1}.log most=$(($2 < limit - SECONDS ? $2 : limit - SECONDS)) start=$SECONDS
  if [ "$most" -lt 10 ]; then
    echo "== $name: left out, the time is up"
    failed+=("$name: left out")
    return 1
  fi
  timeout -k 5 "$most" "${@:3}" >>"$file" 2>&1
  local code=$?
  echo "== $name: exit status $code after $((SECONDS - start)) s (limit $most)"
  tail -n "${LINES_SHOWN:-6}" "$file" | cut -c1-200
  [ $code -eq 0 ] || failed+=("$name: $code")
  return $code
}

build() {
  nvidia-smi
  nvcc --version | tail -n 2
  if [ -f "$folder/libbertkit_cuda.so" ] && [ -z "${BUILD:-}" ]; then
    echo "the library that came along"
    cp "$folder/libbertkit_cuda.so" "$library"
    "$python" -c "import ctypes, sys; ctypes.CDLL(sys.argv[1])" "$library" && return
    echo "which cannot be loaded here: it is built"
  fi
  local nvcc
  nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
  cmake -S . -B build/cuda -G Ninja -DCMAKE_BUILD_TYPE=Release -DBERTKIT_NVCC="$nvcc" -DBERTKIT_CUDA_ARCHITECTURES=90a &&
    cmake --build build/cuda --target bertkit_cuda --parallel "$(nproc)" &&
    cp build/cuda/libbertkit_cuda.so "$library"
}

# The parts with -general take the kernels that all devices have, where 9.0 has others.
verify() {
  "$python" bench/cuda/driver.py --library "$library" --seconds "$1" --mixing 20 --json "$out/$2.json" "${@:3}" "$folder/nano" "$folder/suite"
}

bench() { "$python" bench/cuda/bench.py --library "$library" --json "$results" --seconds "$1" ${QUICK:+--quick} --part "${@:2}"; }

# A tool of compute-sanitizer over the recorded runs, or every N-th of them for a tool that is slow.
sanitize() {
  local tool=$1
  echo "---- $tool"
  compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 --print-limit 20 \
    "$python" bench/cuda/driver.py --library "$library" --once --every "$2" --seconds "$3" "$folder/nano" "$folder/suite"
}

library=$PWD/out/cuda/device.so
mkdir -p out/cuda
export -f build verify bench sanitize
export folder out python library results
log=verify part build 200 bash -c build || exit 1

for name in $parts; do
  case $name in
    verify) LINES_SHOWN=60 part verify 130 bash -c "verify 90 verify" ;;
    verify-general)
      log=verify LINES_SHOWN=12 part "$name" 60 env BERTKIT_CUDA_KERNELS=general bash -c \
        "verify 30 verify-general --only linear,linear_backward_data,linear_backward_weight,attention,attention_backward,nano --replays 100"
      ;;
    steps) LINES_SHOWN=40 part steps 120 bash -c "bench 90 steps --sessions $folder/steps/*" ;;
    steps-general) log=steps LINES_SHOWN=25 part "$name" 90 env BERTKIT_CUDA_KERNELS=general bash -c "bench 60 steps --sessions $folder/steps/*" ;;
    kernels) part kernels 170 bash -c "bench 140 kernels" ;;
    kernels-general) log=kernels part "$name" 90 env BERTKIT_CUDA_KERNELS=general bash -c \
      "bench 35 kernels --only linear --no-peers && bench 35 kernels --only attention --no-peers" ;;
    peers) part peers 240 bash -c "bench 200 peers" ;;
    bad_days) log=verify part bad_days 60 "$python" bench/cuda/bad_days.py --library "$library" ;;
    sanitizer)
      for tool in memcheck:1 racecheck:8 synccheck:1 initcheck:1; do
        LINES_SHOWN=3 part sanitizer 100 bash -c "sanitize ${tool%:*} ${tool#*:} 80"
      done
      ;;
  esac
done

echo
[ -f "$results" ] && "$python" bench/cuda/bench.py --part table --json "$results"
echo "$SECONDS s; ${#failed[@]} parts failed or were left out: ${failed[*]-}"
[ ${#failed[@]} -eq 0 ]
