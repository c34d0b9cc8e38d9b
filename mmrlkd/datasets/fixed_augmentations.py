"""A data set with a fixed number of augmentations of each image."""

import random
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS as MMENGINE_DATASETS

from mmrlkd.arguments import check_integer
from mmrlkd.distillation.functional import preserved_rng
from mmrlkd.registry import DATASETS


@DATASETS.register_module()
class FixedAugmentations:
    """Draws one of K augmentations of an image, of which the k-th is always the
    same.

    A random augmentation shows the teacher an image that it has not seen before.
    With K of each image, a cache of its maps has all of them at last: in epoch e
    it has a share of 1 − (1 − 1/K)^(e − 1), half of them after about 0.7 K
    epochs. After FKD (Shen and Xing 2022, "A Fast Knowledge Distillation
    Framework for Visual Recognition", https://arxiv.org/abs/2112.01528), which
    stores the teacher's labels of K crops.

    Before an image is loaded, the generators of Python, numpy and torch are seeded
    from the image's number and k, and restored afterwards; k itself is drawn from
    numpy's. So worker processes, resuming and the seed of the run change which
    augmentation is drawn, and never what the k-th is. Transforms with a memory,
    such as ``CachedMosaic``, are not repeatable.

    Args:
        dataset: the data set, or its config; a wrapper, too.
        variants: K.
        seed: of the augmentations; the same one for all trainings that share a
            cache.
    """

    def __init__(self, dataset: BaseDataset | dict, variants: int,
                 seed: int = 0) -> None:
        self.variants = check_integer(
            'FixedAugmentations', 'variants', variants, 1)
        self._seed = check_integer('FixedAugmentations', 'seed', seed, 0)
        self.dataset: BaseDataset = (
            MMENGINE_DATASETS.build(dataset) if isinstance(dataset, dict)
            else dataset)

    @property
    def metainfo(self) -> dict:
        """Of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the annotations, if that was not done."""
        self.dataset.full_init()

    def get_data_info(self, idx: int) -> dict:
        """The annotation of an image, before the pipeline."""
        return self.dataset.get_data_info(idx)

    def get_cat_ids(self, idx: int) -> list[int]:
        """The classes in an image, for wrappers that balance them."""
        return self.dataset.get_cat_ids(idx)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> Any:
        # SeedSequence takes no negative numbers.
        idx, variant = idx % len(self), np.random.randint(self.variants)
        words = np.random.SeedSequence(
            [self._seed, idx, variant]).generate_state(3)
        with preserved_rng():
            random.seed(int(words[0]))
            np.random.seed(words[1])
            torch.random.default_generator.manual_seed(int(words[2]))
            return self.dataset[idx]
