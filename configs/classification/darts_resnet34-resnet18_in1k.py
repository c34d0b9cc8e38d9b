# DARTS-LS, by tools/search.py; what it finds is trained as uniform_resnet34-resnet18_in1k is.
_base_ = ['./uniform_resnet34-resnet18_in1k.py', '../_base_/datasets/imagenet_search.py', '../_base_/methods/darts.py']
model = _base_.darts
train_dataloader = dict(dataset=dict(ann_file='search_train.txt'))
held_out = dict(
    _base_.train_dataloader, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(_base_.train_dataloader.dataset, ann_file='search_val.txt'))
val_dataloader = _base_.search_data.val_dataloader
search = dict(metric=_base_.candidates.metric, then='./uniform_resnet34-resnet18_in1k.py')
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(type='mmrlkd.PhaseHook', phases=[dict(name='pretrain', share=0.32), dict(name='search', share=0.68)]),
    dict(type='mmrlkd.HeldOutHook', dataloader=held_out),
]
train_cfg = dict(max_epochs=50)
param_scheduler = dict(milestones=[15, 30, 45])  # twice as fast
