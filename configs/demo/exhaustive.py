# All 15 subsets, each scored on a student that goes on from shared weights.
_base_ = ['./uniform.py', '../_base_/datasets/scenes_detection_search.py']
search = dict(
    metric='coco/bbox_mAP',
    strategy=dict(type='mmrlkd.ExhaustiveSearch'),
    # 200 iterations with all levels, once; then 60 for each candidate.
    evaluator=dict(iterations=60, shared_iterations=200),
    data=_base_.search_data)
