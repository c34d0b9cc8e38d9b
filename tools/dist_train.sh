#!/usr/bin/env bash
# Train on several GPUs, of one machine or of NNODES machines.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "Usage: $0 CONFIG GPUS [arguments of train.py]" >&2
    echo "GPUS are those of one machine. With several machines, start it on each with" >&2
    echo "NNODES, NODE_RANK, MASTER_ADDR and PORT set." >&2
    exit 2
fi
config=$1
gpus=$2
shift 2

tools=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" \
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$gpus" \
    "$tools/train.py" "$config" --launcher pytorch "$@"
