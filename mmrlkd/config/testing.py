"""Options of a test: test-time augmentation, drawn predictions."""

from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict

from .inspection import data_sets, settings_of

#: Used if a config has no ``tta_model``; as in the libraries' own tools/test.py.
_TTA_MODELS: dict[str, dict[str, Any]] = {
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(
        nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
    'mmseg': dict(type='SegTTAModel'),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}
#: Meta data that DetTTAModel needs to map boxes of a flipped image back.
_DETECTION_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor', 'flip', 'flip_direction')


def augment(cfg: Config) -> None:
    """Wrap the model of a config for test-time augmentation.

    Uses the config's ``tta_model`` and ``tta_pipeline``; by default, predictions
    of an image and its mirror image are merged.

    Args:
        cfg: of a student, changed in place.

    Raises:
        ValueError: the config has none, and its library no default here, or one
            that merges no masks.
    """
    scope = cfg.get('default_scope', 'mmdet')
    if 'tta_model' not in cfg and scope not in _TTA_MODELS:
        raise ValueError(
            f'--tta: {scope} has no tta_model that is known here; accepted: '
            'tta_model and tta_pipeline in the config.')
    if 'tta_model' not in cfg and any(settings_of(cfg.model, 'mask_head')):
        raise ValueError(
            '--tta: the model has a mask_head, and DetTTAModel merges boxes only; '
            'accepted: a tta_model of your own in the config.')
    model = cfg.get('tta_model') or _TTA_MODELS[scope]
    sets = [each for _, each in data_sets(cfg.test_dataloader.dataset, '')]
    pipeline = cfg.get('tta_pipeline') or _flipped(sets[0]['pipeline'], scope)
    cfg.model = ConfigDict(**model, module=cfg.model)
    for each in sets:
        each['pipeline'] = deepcopy(pipeline)


def _flipped(pipeline: list, scope: str) -> list:
    *before, pack = deepcopy(pipeline)
    if scope == 'mmdet':
        pack['meta_keys'] = _DETECTION_KEYS
    # Annotations are loaded after flipping, because metrics compare them with
    # predictions that were mapped back to the original image.
    annotations = [each for each in before
                   if each['type'].endswith('LoadAnnotations')]
    before = [each for each in before if each not in annotations]
    transforms: list = [[dict(type='RandomFlip', prob=1.),
                         dict(type='RandomFlip', prob=0.)]]
    if annotations:
        transforms.append(annotations)
    return [*before, dict(type='TestTimeAug', transforms=[*transforms, [pack]])]


def draw_into(folder: str, cfg: Config) -> None:
    """Configure the hook of the config's library that draws predictions.

    Raises:
        ValueError: a library whose hook is not known here.
    """
    scope = cfg.get('default_scope', 'mmdet')
    hooks: dict[str, dict[str, Any]] = {
        'mmdet': dict(type='DetVisualizationHook', draw=True,
                      test_out_dir=folder),
        'mmseg': dict(type='SegVisualizationHook', draw=True),
        'mmpretrain': dict(type='VisualizationHook', enable=True, interval=1,
                           out_dir=folder),
    }
    if scope not in hooks:
        raise ValueError(
            f'--show-dir: the default_scope {scope} has no hook that is known '
            f"here; accepted: {', '.join(hooks)}.")
    cfg.default_hooks.visualization = hooks[scope]
    if scope == 'mmseg':  # its hook draws where the visualizer does
        cfg.visualizer.save_dir = folder
