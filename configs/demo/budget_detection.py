# The detection demo's student, trained to bear skipped blocks, and how a
# controller may run it: see docs/latency_budget.md.
_base_ = './detection_student.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(type='mmrlkd.DropBlocksHook', rate=0.5),
]
# Made by
#     python tools/datasets/make_scenes.py data/scenes_test --seed 1 \
#         --train 16 --val 100
# The validation images are those that settings are profiled on.
test_root = 'data/scenes_test/'
test_dataloader = dict(dataset=dict(data_root=test_root))
test_evaluator = dict(ann_file=test_root + 'annotations/val.json')
budget = dict(
    knobs=[
        dict(type='mmrlkd.InputScale', scales=(0.5, 0.75, 1.0, 1.5)),
        dict(type='mmrlkd.ResidualBlocks', run=[(2, 2, 1, 1), (2, 2, 2, 2)]),
    ],
    # Cheap even for a run at another size, which does not go on from there. layer1
    # tells more of whether an image is crowded, and costs such a run more.
    feature=dict(stage='maxpool', scale=1.0),
    latency=dict(quantile=0.98),
    test_budgets=3)
