"""The machine that latencies are measured on."""

import platform
from pathlib import Path
from time import perf_counter
from typing import Any

import torch


def describe_machine(device: str | torch.device) -> dict[str, Any]:
    """What a latency depends on besides the model; JSON-able.

    Args:
        device: that the model runs on.
    """
    device = torch.device(device)
    return dict(
        platform=platform.platform(), processor=processor_name(),
        threads=torch.get_num_threads(), torch=torch.__version__,
        device=(torch.cuda.get_device_name(device) if device.type == 'cuda'
                else device.type))


def clock_ms(device: str | torch.device) -> float:
    """Time in ms, once the device has done all that it was given."""
    if torch.device(device).type != 'cpu':
        torch.accelerator.synchronize(device)
    return 1e3 * perf_counter()


def processor_name() -> str:
    """Name of the CPU."""
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
