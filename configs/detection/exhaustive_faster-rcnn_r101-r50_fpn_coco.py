# All 15 subsets: each goes on for an epoch from a student trained with all levels
# for two. Run it by tools/search.py, on a GPU for each of search.workers.
_base_ = [
    './uniform_faster-rcnn_r101-r50_fpn_coco.py',
    '../_base_/datasets/coco_detection_search.py'
]
search = dict(
    metric='coco/bbox_mAP',
    strategy=dict(type='mmrlkd.ExhaustiveSearch'),
    evaluator=dict(iterations=7000, shared_iterations=14000),
    executor=dict(type='mmrlkd.RayExecutor', cpus=8, gpus=1),
    workers=1,
    data=_base_.search_data)
