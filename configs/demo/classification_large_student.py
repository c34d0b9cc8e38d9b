# The classification demo's student on images of twice the pixels, so that it takes
# longer than a decision about it: see docs/latency_budget.md.
# Made by
#     python tools/datasets/make_scenes.py data/scenes_10_large --size 96 --classes 10
_base_ = './classification_student.py'
data_root = 'data/scenes_10_large/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
