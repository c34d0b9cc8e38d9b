import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from pycocotools import mask as coco_mask

import projects.scenes.detection  # noqa: F401
import projects.scenes.segmentation  # noqa: F401
from mmrlkd.registry import METRICS

CLASSES = ('cat', 'dog')
SIZE = 100


def make_annotations(counts: list[int]) -> dict:
    """Images of so many objects each; in image i, all of side 5 + 2 i."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i, count in enumerate(counts, start=1):
        images.append(dict(id=i, file_name=f'{i}.png', height=SIZE, width=SIZE))
        for _ in range(count):
            x, y = rng.integers(SIZE - 30, size=2)
            mask = np.zeros((SIZE, SIZE), np.uint8, order='F')
            mask[y:y + 5 + 2 * i, x:x + 5 + 2 * i] = 1
            rle = coco_mask.encode(mask)
            annotations.append(dict(
                id=len(annotations) + 1, image_id=i, iscrowd=0,
                category_id=int(rng.integers(2)) + 1,
                bbox=coco_mask.toBbox(rle).tolist(),
                area=int(coco_mask.area(rle)),
                segmentation=dict(rle, counts=rle['counts'].decode())))
    return dict(images=images, annotations=annotations, categories=[
        dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)])


COUNTS = [12, 9, 2, 5, 3, 14, 1, 6, 8, 0]
STRATA = {'1-3': {3, 5, 7}, '4-7': {4, 8}, '8-10': {2, 9}, '>10': {1, 6},
          'dense_small': {1, 2}}


def predict(content: dict) -> list[dict]:
    """Jittered objects with random scores; one in four is missed."""
    rng = np.random.default_rng(1)
    samples = []
    for image in content['images']:
        boxes, labels, masks = [np.zeros((0, 4))], [], []
        for a in content['annotations']:
            if a['image_id'] == image['id'] and rng.random() < .75:
                x, y, w, h = a['bbox']
                boxes.append(
                    np.array([[x, y, x + w, y + h]]) + rng.normal(0, 1, (1, 4)))
                labels.append(a['category_id'] - 1)
                masks.append(np.roll(coco_mask.decode(a['segmentation']),
                                     rng.integers(-1, 2)))
        samples.append(dict(
            img_id=image['id'], ori_shape=(SIZE, SIZE), pred_instances=dict(
                bboxes=torch.tensor(np.concatenate(boxes), dtype=torch.float32),
                scores=torch.tensor(rng.random(len(labels))),
                labels=torch.tensor(labels, dtype=torch.long),
                masks=torch.tensor(np.array(masks, bool).reshape(
                    -1, SIZE, SIZE)))))
    return samples


def evaluate(metric: CocoMetric, samples: list[dict]) -> dict[str, float]:
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples)
    return metric.evaluate(size=len(samples))


@pytest.fixture
def content() -> dict:
    return make_annotations(COUNTS)


def write(folder: Path, content: dict) -> str:
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return str(path)


def build(path: str, **kwargs) -> CocoMetric:
    return METRICS.build(dict(
        type='mmrlkd.DifficultyCocoMetric', ann_file=path, **kwargs))


def test_overall_is_mmdets_and_strata_are_subsets(
        content: dict, tmp_path: Path) -> None:
    kinds = ['bbox', 'segm']
    path = write(tmp_path, content)
    samples = predict(content)
    metrics = evaluate(build(path, metric=kinds), samples)
    overall = evaluate(CocoMetric(path, metric=kinds), samples)
    assert overall.items() <= metrics.items()
    assert metrics.keys() - overall.keys() == {
        f'coco/{kind}_mAP_{name}' for kind in kinds for name in STRATA}

    for name, ids in STRATA.items():
        subset = dict(
            content, images=[i for i in content['images'] if i['id'] in ids],
            annotations=[
                a for a in content['annotations'] if a['image_id'] in ids])
        alone = evaluate(
            CocoMetric(write(tmp_path, subset), metric=kinds),
            [s for s in samples if s['img_id'] in ids])
        for kind in kinds:
            assert metrics[f'coco/{kind}_mAP_{name}'] == alone[
                f'coco/{kind}_mAP']
            assert 0 < alone[f'coco/{kind}_mAP'] < 1


def test_recorded_strata_go_before_derived(
        content: dict, tmp_path: Path) -> None:
    for image in content['images']:
        image['difficulty'] = 'odd' if image['id'] % 2 else 'even'
        image['dense_small'] = False
    path = write(tmp_path, content)
    metrics = evaluate(build(path), predict(content))
    assert {k for k in metrics if 'even' in k or 'odd' in k} == {
        'coco/bbox_mAP_even', 'coco/bbox_mAP_odd'}
    assert not any('1-3' in k or 'dense' in k for k in metrics)


def test_any_key_may_group(content: dict, tmp_path: Path) -> None:
    for image in content['images']:
        image['hour'] = 'empty' if image['id'] == 10 else image['id'] % 2
    metrics = evaluate(
        build(write(tmp_path, content), strata=['hour']), predict(content))
    assert {k for k in metrics if k.startswith('coco/bbox_mAP_')} == {
        f'coco/bbox_mAP_{n}' for n in ('0', '1', '50', '75', 's', 'm', 'l')}


def test_crowds_do_not_count(content: dict, tmp_path: Path) -> None:
    for annotation in content['annotations']:
        annotation['iscrowd'] = int(annotation['image_id'] in STRATA['>10'])
    metrics = evaluate(build(write(tmp_path, content)), predict(content))
    assert 'coco/bbox_mAP_8-10' in metrics
    assert 'coco/bbox_mAP_>10' not in metrics


@pytest.mark.parametrize('some', [False, True])
def test_a_missing_key_is_refused_at_once(
        content: dict, tmp_path: Path, some: bool) -> None:
    content['images'][0].update(hour=1, difficulty='1-3')
    key = 'difficulty' if some else 'weather'
    with pytest.raises(ValueError, match=f"lack the key '{key}'"):
        build(write(tmp_path, content), strata=[key])


def test_a_stratum_where_nothing_was_found_scores_zero(
        content: dict, tmp_path: Path) -> None:
    samples = predict(content)
    for sample in samples:
        if sample['img_id'] in STRATA['4-7']:
            sample['pred_instances'] = {
                k: v[:0] for k, v in sample['pred_instances'].items()}
    metrics = evaluate(build(write(tmp_path, content)), samples)
    assert metrics['coco/bbox_mAP_4-7'] == 0
    assert metrics['coco/bbox_mAP_1-3'] > 0


def test_nothing_found_at_all(content: dict, tmp_path: Path) -> None:
    samples = predict(content)
    for sample in samples:
        sample['pred_instances'] = {
            k: v[:0] for k, v in sample['pred_instances'].items()}
    path = write(tmp_path, content)
    assert evaluate(build(path), samples) == evaluate(CocoMetric(path), samples)


def test_strata_print_no_tables(
        content: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = write(tmp_path, content)
    tables = []
    for metric in (CocoMetric(path), build(path)):
        capsys.readouterr()
        evaluate(metric, predict(content))
        tables.append(capsys.readouterr().out.count('Average Precision'))
    assert tables[0] == tables[1] > 0
