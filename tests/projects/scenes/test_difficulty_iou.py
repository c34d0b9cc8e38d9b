import json
from pathlib import Path

import pytest
import torch
from mmseg.evaluation import IoUMetric

import projects.scenes.detection  # noqa: F401
import projects.scenes.segmentation  # noqa: F401
from mmrlkd.registry import METRICS

STRATA = {1: ('1-3', False), 2: ('1-3', False), 3: ('>10', True)}


@pytest.fixture
def annotations(tmp_path: Path) -> str:
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=i, file_name=f'{i}.png', difficulty=difficulty,
                     dense_small=dense)
                for i, (difficulty, dense) in STRATA.items()],
        annotations=[], categories=[])))
    return str(path)


def samples(ids: tuple[int, ...]) -> list[dict]:
    """Predictions that are random in part, the same for each id."""
    found = []
    for i in ids:
        torch.manual_seed(i)
        truth = torch.randint(3, (1, 8, 8))
        guess = torch.where(torch.rand(1, 8, 8) < 0.3 * i,
                            torch.randint(3, (1, 8, 8)), truth)
        truth[0, 0, 0] = 255
        found.append(dict(img_id=i, gt_sem_seg=dict(data=truth),
                          pred_sem_seg=dict(data=guess)))
    return found


def evaluate(metric: IoUMetric, *batches: list[dict]) -> dict[str, float]:
    metric.dataset_meta = dict(classes=('background', 'a', 'b'))
    for batch in batches:
        metric.process({}, batch)
    return metric.evaluate(sum(map(len, batches)))


def test_a_stratum_is_the_metric_of_its_images(annotations: str) -> None:
    metric = METRICS.build(dict(
        type='mmrlkd.DifficultyIoUMetric', ann_file=annotations))
    found = evaluate(metric, samples((1, 2)), samples((3, )))
    whole = evaluate(IoUMetric(), samples((1, 2, 3)))
    easy = evaluate(IoUMetric(), samples((1, 2)))['mIoU']
    hard = evaluate(IoUMetric(), samples((3, )))['mIoU']
    assert easy > hard > 0
    assert found == pytest.approx({
        **whole, 'mIoU_1-3': easy, 'mIoU_>10': hard, 'mIoU_dense_small': hard})


def test_a_stratum_without_images_is_left_out(annotations: str) -> None:
    metric = METRICS.build(dict(
        type='mmrlkd.DifficultyIoUMetric', ann_file=annotations,
        strata=('difficulty', )))
    assert set(evaluate(metric, samples((1, )))) == {
        'aAcc', 'mIoU', 'mAcc', 'mIoU_1-3'}
