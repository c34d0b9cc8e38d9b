"""Controllers in ONNX files, as the runtime uses them.

Such a file computes the scores of the settings from ``features`` (B, F), ``context``
(B, C), if the controller has one, and ``budget`` (B, J + 1), which
:class:`.controller.BudgetEncoding` encodes: budgets repeat, and in the file this would
be done anew for each image. Its metadata hold, under the key ``mmrlkd`` in JSON, the
controller's header, its latency model, its blind rule, its encoding of budgets and how
well it agrees with the float controller. Masking and the choice are in
:class:`.deployed.BudgetedController`, the same for all.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from .blind import BlindRule
from .controller import BudgetEncoding
from .deployed import BudgetedController, ControllerHeader
from .latency import LatencyModel

#: Number of the format, in each file.
VERSION = 3
#: Of the metadata.
KEY = 'mmrlkd'
OUTPUT = 'scores'


@dataclass(frozen=True)
class Agreement:
    """How far an exported controller is from the float one.

    Attributes:
        same_setting: share of pairs of an image and a budget for which both
            choose the same setting.
        score_error: largest difference of log-probabilities, in nats.
        pairs: number of them.
    """
    same_setting: float
    score_error: float
    pairs: int


class OnnxController(BudgetedController):
    """A controller in an ONNX file, run by onnxruntime on one CPU thread.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no file of :func:`export`.
    """

    def __init__(self, path: str | Path) -> None:
        options = onnxruntime.SessionOptions()
        # So small a network is slower on several threads than on one.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=['CPUExecutionProvider'])
            metadata = json.loads(
                self._session.get_modelmeta().custom_metadata_map[KEY])
            if metadata['version'] != VERSION:
                raise KeyError(f'version {VERSION}')
        except Exception as error:  # onnxruntime's have no common base
            raise ValueError(
                f'controller={str(path)!r} is no controller ({error}); accepted: '
                'a file of tools/budget/export.py.') from error
        super().__init__(
            ControllerHeader(**metadata['header']),
            LatencyModel.from_state_dict(_tensors(metadata['latency'])),
            BlindRule.from_state_dict(_tensors(metadata['blind'])))
        state = metadata['encoding']
        self._encoding = BudgetEncoding(bins=state.pop('bins'))
        self._encoding.load_state_dict(
            {key: torch.tensor(value) for key, value in state.items()})
        #: How far it is from the float controller.
        self.agreement = Agreement(**metadata['agreement'])

    def scores(self, features: Tensor, context: Tensor | None,
               budget_ms: Tensor) -> Tensor:
        return torch.from_numpy(self._encoded_scores(
            features, context, self._encoding(budget_ms)))

    def _encode(self, budgets: tuple[float, ...]) -> Tensor:
        return self._encoding(super()._encode(budgets))

    def _encoded_scores(self, features: Tensor, context: Tensor | None,
                        encoded: Tensor) -> np.ndarray:
        inputs = onnx_inputs(features, context, encoded)
        return self._session.run([OUTPUT], inputs)[0]


def _tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Lists as tensors."""
    return {key: torch.tensor(value) if isinstance(value, list) else value
            for key, value in state.items()}


def onnx_inputs(features: Tensor, context: Tensor | None, budget: Tensor
                ) -> dict[str, np.ndarray]:
    """What onnxruntime is given: of budgets, what is encoded of them."""
    inputs = dict(features=features.numpy(), budget=budget.numpy())
    if context is not None:
        inputs['context'] = context.numpy()
    return inputs
