"""Writing controllers as ONNX files, in float or int8."""

import json
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from mmrlkd.engine.atomic import write_atomically

from .controller import Controller
from .deployed import BudgetedController, LoadedController
from .onnx_controller import (
    KEY,
    OUTPUT,
    VERSION,
    Agreement,
    OnnxController,
    onnx_inputs,
)
from .table import ProfileTable

#: Budgets of the calibration, for each image.
_BUDGETS = 5


def export(controller: LoadedController, table: ProfileTable, path: str | Path,
           int8: bool) -> Agreement:
    """Write a controller as ONNX, and compare both.

    In int8, weights are quantised per channel and activations with ranges that
    are calibrated on the table (static quantisation). Ranges taken from each
    batch, as in dynamic quantisation, would make the choice for an image depend on
    the other images of its batch.

    Args:
        controller: with float weights.
        table: whose images calibrate, and are compared.
        path: of the file.
        int8: whether to quantise.
    """
    observed = _observations(controller, table)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, 'float.onnx')
        features, context, budgets = observed
        given = features, context, controller.controller.encoding(budgets)
        _to_onnx(controller.controller, given, model)
        if int8:
            model = _quantised(model, given)
        unmarked = _marked(model, controller, None)
        Path(folder, 'marked.onnx').write_bytes(unmarked)
        agreement = compare(
            controller, OnnxController(Path(folder, 'marked.onnx')), observed)
        write_atomically(path, _marked(model, controller, agreement))
    return agreement


def compare(controller: LoadedController, other: BudgetedController,
            observed: tuple[Tensor, Tensor | None, Tensor]) -> Agreement:
    """How far ``other`` is from ``controller`` on features, context and budgets,
    see :meth:`.deployed.BudgetedController.choose`."""
    same = controller.choose(*observed) == other.choose(*observed)
    with torch.inference_mode():
        error = (controller.scores(*observed).log_softmax(1)
                 - other.scores(*observed).log_softmax(1)).abs().max()
    return Agreement(same.float().mean().item(), error.item(), len(same))


def _observations(controller: LoadedController, table: ProfileTable
                  ) -> tuple[Tensor, Tensor | None, Tensor]:
    """Every image of a table with budgets over the controller's range."""
    low, high = controller.header.budgets
    budgets = torch.logspace(np.log10(low), np.log10(high), _BUDGETS)
    features = table.features.repeat_interleave(_BUDGETS, 0)
    context = (table.context.repeat_interleave(_BUDGETS, 0)
               if controller.header.context_dim else None)
    return features, context, budgets.repeat(len(table))


class _Scores(nn.Module):
    """The network that is exported."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller

    def forward(self, features: Tensor, budget: Tensor,
                context: Tensor | None = None) -> Tensor:
        return self.controller.encoded_scores(features, context, budget)


def _to_onnx(controller: Controller, given: tuple[Tensor, Tensor | None, Tensor],
             path: Path) -> None:
    features, context, budget = given
    inputs = {name: tensor[:2] for name, tensor in dict(
        features=features, budget=budget, context=context).items()
        if tensor is not None}
    batch = torch.export.Dim('batch', min=1)
    with warnings.catch_warnings():  # torch's, about its own parts
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            _Scores(controller).eval(), tuple(inputs.values()),
            input_names=list(inputs), output_names=[OUTPUT], dynamo=True,
            verbose=False, dynamic_shapes={name: {0: batch} for name in inputs})
    assert program is not None, 'of the exporter that is asked for'
    program.save(str(path))


def _quantised(model: Path, given: tuple[Tensor, Tensor | None, Tensor]
               ) -> Path:
    prepared, quantised = model.with_name('pre.onnx'), model.with_name('int8.onnx')
    quant_pre_process(str(model), str(prepared))
    # Sums the heads' logits and adds the prior: in integers it would round scores.
    last = [node.name for node in onnx.load(str(prepared)).graph.node
            if OUTPUT in node.output]
    quantize_static(
        str(prepared), str(quantised), _Batches(given),
        quant_format=QuantFormat.QDQ, op_types_to_quantize=['Gemm'],
        nodes_to_exclude=last,
        per_channel=True, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8)
    return quantised


class _Batches(CalibrationDataReader):
    """What the network is given, a batch at a time."""

    def __init__(self, given: tuple[Tensor, Tensor | None, Tensor],
                 size: int = 256) -> None:
        features, context, budget = given
        self.batches: Iterator[dict[str, Any]] = iter([
            onnx_inputs(features[i:i + size],
                        None if context is None else context[i:i + size],
                        budget[i:i + size])
            for i in range(0, len(budget), size)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


def _marked(model: Path, controller: LoadedController, agreement: Agreement | None
            ) -> bytes:
    """The content of an ONNX file with the metadata."""
    proto = onnx.load(str(model))
    encoding = controller.controller.encoding
    entry = proto.metadata_props.add()
    entry.key = KEY
    entry.value = json.dumps(dict(
        version=VERSION, header=asdict(controller.header),
        latency=_lists(controller.latency.state_dict()),
        blind=_lists(controller.blind.state_dict()),
        encoding=dict(_lists(encoding.state_dict()), bins=encoding.bins),
        agreement=asdict(agreement or Agreement(0., 0., 0))))
    return proto.SerializeToString()


def _lists(state: dict[str, Any]) -> dict[str, Any]:
    """Tensors as lists."""
    return {key: value.tolist() if isinstance(value, Tensor) else value
            for key, value in state.items()}
