import pytest
from mmengine.config import Config

from projects.experiments.tasks import task_of

COCO = dict(type='CocoMetric', metric='bbox')


@pytest.mark.parametrize(('evaluator', 'key'), [
    (COCO, 'coco/bbox_mAP'),
    (dict(type='mmdet.CocoMetric', metric=['bbox', 'segm']), 'coco/segm_mAP'),
    (dict(type='VOCMetric', metric='mAP'), 'pascal_voc/mAP'),
    ([dict(type='Speed'), dict(type='mmrlkd.DifficultyIoUMetric')], 'mIoU'),
    (dict(type='Accuracy', topk=(1, 5)), 'accuracy/top1'),
])
def test_the_evaluator_says_which_key_decides(evaluator, key: str) -> None:
    assert task_of(Config(dict(val_evaluator=evaluator))).main.key == key


def test_save_best_says_it_for_an_unknown_evaluator() -> None:
    cfg = Config(dict(
        val_evaluator=dict(type='Speed'),
        default_hooks=dict(checkpoint=dict(save_best='speed/fps'))))
    assert task_of(cfg).main.key == 'speed/fps'


@pytest.mark.parametrize('evaluator', [None, [], dict(type='Speed')])
def test_a_config_without_a_deciding_key_is_refused(evaluator) -> None:
    with pytest.raises(ValueError, match='does not say which number decides'):
        task_of(Config(dict(val_evaluator=evaluator)))
