# A classification student, trained to bear skipped blocks, and how a controller may
# run it: see docs/latency_budget.md.
_base_ = './classification_large_student.py'
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(type='mmrlkd.DropBlocksHook', rate=0.5),
]
# Made by
#     python tools/datasets/make_scenes.py data/scenes_10_large_test --size 96 \
#         --classes 10 --seed 1 --train 16 --val 120
# The validation images are those that settings are profiled on.
test_root = 'data/scenes_10_large_test/'
test_dataloader = dict(dataset=dict(data_root=test_root))
budget = dict(
    knobs=[
        dict(type='mmrlkd.InputScale', scales=(0.5, 0.75, 1.0)),
        dict(type='mmrlkd.ResidualBlocks', run=[
            (0, 1, 1, 1), (1, 1, 1, 1), (2, 2, 1, 1), (2, 2, 2, 2)]),
    ],
    # At the size of the best settings, whose runs go on from there.
    feature=dict(stage='maxpool', scale=1.0),
    latency=dict(quantile=0.98),
    test_budgets=3)
